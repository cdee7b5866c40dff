"""Marks that a program writes about its start."""

import json
from pathlib import Path
from typing import Any

from launcher.rundir import RunDir
from tests.children import run_python


def marks(code: str, directory: Path, **variables: str) -> list[dict[str, Any]]:
    """The marks of a program that is started as launch does it."""
    of_run = {"LAUNCH_RUN_DIR": str(directory), "LAUNCH_COMPONENT": "trainer"}
    done = run_python(code, directory, **(of_run | variables))
    assert done.returncode == 0, done.stderr
    path = RunDir(directory).marks
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_setup_logger_marks_the_end_of_the_imports_and_mark_what_follows(tmp_path: Path) -> None:
    code = "from launcher import mark, setup_logger\nsetup_logger()\nmark('model')\nmark('data', waits_for='reward')"
    imports, model, data = marks(code, tmp_path)
    assert (imports["component"], imports["phase"]) == ("trainer", "imports")
    assert model["phase"] == "model" and "rank" not in model
    assert data["waits_for"] == "reward"
    assert imports["time"] <= model["time"] <= data["time"]


def test_only_the_first_mark_of_a_name_is_written(tmp_path: Path) -> None:
    code = "from launcher import mark, setup_logger\nsetup_logger()\nfor _ in range(9): mark('step')"
    assert [each["phase"] for each in marks(code, tmp_path)] == ["imports", "step"]


def test_a_rank_says_which_it_is(tmp_path: Path) -> None:
    [imports] = marks("from launcher import setup_logger\nsetup_logger()", tmp_path, RANK="3")
    assert imports["rank"] == 3


def test_outside_a_run_nothing_is_written(tmp_path: Path) -> None:
    code = "from launcher import mark, setup_logger\nsetup_logger()\nmark('model')"
    assert marks(code, tmp_path, LAUNCH_RUN_DIR="") == []
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_written_fails_nobody(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.logs.mkdir(parents=True)
    run.marks.symlink_to(tmp_path / "elsewhere")
    assert marks("from launcher import mark, setup_logger\nsetup_logger()\nmark('model')", tmp_path) == []
    assert not (tmp_path / "elsewhere").exists()
