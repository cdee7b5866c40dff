"""Each benchmark runs, with the smallest numbers that it takes; its figures are not looked at."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
ARGUMENTS = {
    "console": ["1", "3"],
    "environments": ["16"],
    "house": [],
    "inference": ["0.2", "1"],
    "log_folding": ["1", "10"],
    "logs": ["1", "10"],
    "nodes": ["1"],
    "panes": ["1"],
    "scaling": ["1", "2"],
    "spares": ["1"],
    "status": ["2", "1"],
}
ONE_START = "import supervision as s; print(s.start_and_failure(s.Launcher('launch', s.launch)))"  # all take minutes


def run(*arguments: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=BENCHMARKS, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_none_is_forgotten_here() -> None:
    assert {file.stem for file in BENCHMARKS.glob("*.py")} == {*ARGUMENTS, "supervision", "training"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in ("house", "scaling") else [pytest.mark.slow]) for name in ARGUMENTS]
)
def test_it_runs(name: str) -> None:
    assert len(run(f"{name}.py", *ARGUMENTS[name]).splitlines()) > 1


@pytest.mark.slow
def test_supervision_starts_its_workers_under_launch() -> None:
    assert "one exits 7" in run("-c", ONE_START)
