"""The live view on a terminal that changes while it is drawn."""

import os
import pty
import sys
import termios
from pathlib import Path
from typing import Any

import pytest

from launcher.view.console import live_screen
from launcher.view.console.live_screen import LiveScreen
from tests.plans import plan_of, sft

WIDE, NARROW = (44, 160), (30, 20)  # lines, columns


def test_a_terminal_that_is_resized_while_the_view_is_made_gets_the_view_of_its_new_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal, theirs = pty.openpty()
    termios.tcsetwinsize(terminal, WIDE)
    made = []

    def frame(*arguments: Any) -> list[str]:
        made.append(make_frame(*arguments))
        termios.tcsetwinsize(terminal, NARROW)
        return made[-1]

    make_frame = live_screen.frame
    monkeypatch.setattr(live_screen, "frame", frame)
    with os.fdopen(terminal, "rb", buffering=0) as output, os.fdopen(theirs, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        screen = LiveScreen(plan_of(sft(), root=tmp_path / "otter"), os.getpid(), lambda key: None, {})
        screen.flush()
        written = output.read(1 << 16).decode()
        screen.close()
        monkeypatch.undo()
    wide, narrow = made
    assert all(line in written for line in narrow)
    assert max(wide, key=len) not in written
