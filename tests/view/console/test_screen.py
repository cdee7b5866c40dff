"""The lines of the console in a pipe and on a terminal."""

import os
import re
import sys
from pathlib import Path

import pytest

from launcher.view.console.console import shows_view
from launcher.view.console.screen import Screen
from tests.plans import plan_of, rl, sft

STAMP = "2026-11-23 03:10:02.123"


def shown(screen: Screen, capsys: pytest.CaptureFixture[str], *lines: str) -> list[str]:
    for line in lines:
        screen.line(line)
    return capsys.readouterr().out.splitlines()


def test_a_pipe_gets_time_and_component_and_a_level_only_if_it_is_news(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    screen = Screen(plan_of(rl(), root=tmp_path))
    assert shown(screen, capsys, f"{STAMP} | INFO    | ready", f"{STAMP} | WARNING | slow", "  File x, line 1") == [
        "03:10:02 orchestrator ready",
        "03:10:02 orchestrator WARNING slow",
        "  File x, line 1",
    ]
    screen.event("stopping: SIGINT")
    assert re.fullmatch(r"\d\d:\d\d:\d\d launch       stopping: SIGINT\n", capsys.readouterr().out)


def test_the_rank_stands_in_the_place_of_the_component(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(plan_of(sft("--nproc", "2", "--filter-rank", "0,1"), root=tmp_path))
    lines = [f"[trainer1]:{STAMP} | INFO    | x", f"[ranks 0-1]:{STAMP} | INFO    | y", "[trainer0]:printed"]
    assert shown(screen, capsys, *lines) == ["03:10:02 trainer1 x", "03:10:02 ranks 0-1 y", "[trainer0]:printed"]


@pytest.mark.parametrize(
    ("variables", "has_colour"),
    [({"TERM": "xterm-256color"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
)
def test_a_terminal_has_colours_unless_it_is_dumb_or_its_user_wants_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], has_colour: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        screen = Screen(plan_of(rl(), root=tmp_path))
        screen.line(f"{STAMP} | WARNING | slow")
        screen.flush()
        written = os.read(ours, 1000)
    os.close(ours)
    assert (b"\x1b[33mWARNING\x1b[0m" in written) is has_colour
    assert (b"\x1b" in written) is has_colour


@pytest.mark.parametrize(("plain", "term"), [(True, "xterm"), (False, "dumb")])
def test_lines_are_all_that_a_terminal_gets_that_is_dumb_or_whose_user_wants_it(
    monkeypatch: pytest.MonkeyPatch, plain: bool, term: str
) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert not shows_view(plain, os.getpid())
