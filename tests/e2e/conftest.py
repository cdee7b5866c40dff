"""Notes which program of others a test has run, for the table in docs/recipes.md.

LAUNCH_WHAT_WAS_RUN=docs/what-was-run.json pytest -m slow tests/e2e/test_recipes.py tests/e2e/test_ray.py …
python docs/make_what_was_run.py
"""

import datetime
import json
import os
from collections.abc import Generator
from importlib.metadata import version
from pathlib import Path

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    file, marker = os.environ.get("LAUNCH_WHAT_WAS_RUN"), item.get_closest_marker("runs")
    if file and marker and call.when == "call" and report.passed:
        _note(Path(file), item.nodeid, *marker.args)
    return report


def _note(file: Path, test: str, program: str, its_version: str, recipe: str) -> None:
    """`its_version` is a distribution of ours whose version it is, or the version itself."""
    entries = json.loads(file.read_text()) if file.exists() else []
    entry = {
        "program": program,
        "version": its_version if its_version[0].isdigit() or " " in its_version else version(its_version),
        "recipe": recipe,
        "test": test,
        "date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
    }
    kept = [other for other in entries if other["test"] != test]
    file.write_text(json.dumps(sorted([*kept, entry], key=lambda one: one["test"]), indent=2) + "\n")
