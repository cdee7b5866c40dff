"""What is generated is current, every link leads somewhere, and every command that is shown is one."""

import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.launching import LAUNCH
from tests.test_architecture import ROOMS

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))
STARTS = sorted(
    {
        re.split(r"  +", line.strip())[0]
        for page in PAGES
        for line in re.findall(r"^    (launch (?:rl|sft) .*)$", page.read_text(), re.MULTILINE)
        if "[" not in line  # a synopsis
    }
)


def test_the_configuration_reference_is_current() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "make_configuration.py"))["reference"]()
    current = (ROOT / "docs" / "configuration.md").read_text()
    assert current == made, "run: python docs/make_configuration.py"


def test_the_table_of_what_was_run_is_what_the_tests_have_noted() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "make_what_was_run.py"))["page"]()
    current = (ROOT / "docs" / "recipes.md").read_text()
    assert current == made, "run: python docs/make_what_was_run.py"
    for run in json.loads((ROOT / "docs" / "what-was-run.json").read_text()):
        file, _, function = run["test"].partition("::")
        assert f"def {function.partition('[')[0]}(" in (ROOT / file).read_text(), run["test"]
        assert (ROOT / run["recipe"]).exists(), run["recipe"]


def test_the_picture_of_the_architecture_is_current() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "make_architecture_picture.py"))["picture"]()
    current = (ROOT / "docs" / "architecture.svg").read_text()
    assert current == made, "run: python docs/make_architecture_picture.py"


def test_the_architecture_page_names_every_room() -> None:
    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE)
    named = [name.strip("/") for row in rows for name in re.findall(r"`([^`]+)`", row)]
    assert named == [*ROOMS, "workload"]


def test_the_site_is_built_with_every_link_and_page_in_its_place(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    argv = [str(Path(sys.executable).with_name("zensical")), "build", "--strict"]
    built = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    listed = re.findall(r"[\w-]+\.md", (tmp_path / "mkdocs.yml").read_text())
    assert sorted(listed) == [page.name for page in PAGES]
    assert (tmp_path / "site" / "tutorial" / "index.html").exists()


@pytest.mark.parametrize("command", STARTS)
def test_a_command_that_starts_a_run_makes_a_plan(command: str, tmp_path: Path) -> None:
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    words = [*shlex.split(command, comments=True)[1:]]
    where = words.index("--") if "--" in words else len(words)
    done = subprocess.run(
        [LAUNCH, *words[:where], "--dry-run", *words[where:]], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_a_block_of_the_shell_is_run_by_a_test_or_says_why_not() -> None:
    for page in PAGES:
        blocks = re.findall(r"(.*)\n *```(?:sh|bash|console|shell|zsh|fish)\n", page.read_text())
        unmarked = [before for before in blocks if not before.lstrip().startswith("<!-- not run here: ")]
        assert page.name == "tutorial.md" or not unmarked, page.name  # tests/e2e/test_tutorial.py runs those
