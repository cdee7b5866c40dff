"""The README's promises that a machine can check: its commands run, its files are there."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.launching import LAUNCH

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"^```sh\n(.*?)\n```$", README, re.MULTILINE | re.DOTALL)
MISSION = re.findall(r"^\| `(launch [^`]*)` \|", README, re.MULTILINE)


def test_the_first_screen_has_exactly_two_commands_that_set_themselves_up() -> None:
    assert len(COMMANDS) == 2
    assert all(
        command.startswith("python3 -m venv .venv && . .venv/bin/activate && pip install") for command in COMMANDS
    )
    assert [command.rpartition("&&")[2].strip() for command in COMMANDS] == ["launch rl", "pytest"]


def test_ci_runs_the_second_command() -> None:
    ci = (ROOT / ".ci" / "run").read_text()
    install = COMMANDS[1].rpartition(" && ")[0].replace("pip install", "pip install --quiet")
    assert install in ci
    assert re.search(r"^pytest$", ci, re.MULTILINE)


@pytest.mark.parametrize("command", [command for command in MISSION if command.startswith(("launch rl", "launch sft"))])
def test_the_mission_commands_make_a_plan(command: str, tmp_path: Path) -> None:
    words = [LAUNCH, *shlex.split(command)[1:], "--dry-run"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_local_link_leads_somewhere() -> None:
    targets = re.findall(r"\]\((?!http)([^)#]+)", README)
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_the_tree_names_what_is_there() -> None:
    tree = README.split("## The tree")[1].split("```")[1]
    names = [line.split()[0] for line in tree.splitlines() if line and not line.startswith(" ")]
    inside = [f"launcher/{line.split()[0]}" for line in tree.splitlines() if line.startswith("  ")]
    assert [name for name in names + inside if not (ROOT / name).exists()] == []
