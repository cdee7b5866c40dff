"""Long output on a terminal: in the pager, which anything else does without."""

import shlex
import sys
from pathlib import Path

import pytest

from launcher.view.pager import paged
from tests.tmux_server import TmuxServer

PAGED = """
import sys
from launcher.view.pager import paged
with paged(True):
    sys.stdout.write("one\\ntwo\\n")
print("after")
"""


def show(tmux: TmuxServer, pager: str) -> str:
    """The pane of a terminal in which something is paged."""
    return tmux.open_terminal("env", f"PAGER={pager}", sys.executable, "-c", f"{PAGED}\nimport time; time.sleep(60)")


def test_on_a_terminal_the_output_goes_through_the_users_pager(tmux: TmuxServer, tmp_path: Path) -> None:
    pager = tmp_path / "my pager"
    pager.write_text("#!/bin/sh\nsed 's/^/paged: /'\n")
    pager.chmod(0o755)
    screen = tmux.wait_for_text(show(tmux, shlex.quote(str(pager))), "after")
    assert screen.split("\n")[:3] == ["paged: one", "paged: two", "after"]


def test_a_pager_without_a_shebang_is_run_by_sh(tmux: TmuxServer, tmp_path: Path) -> None:
    pager = tmp_path / "my pager"
    pager.write_text('sed "s/^/$1: /"\n')
    pager.chmod(0o755)
    screen = tmux.wait_for_text(show(tmux, f"{shlex.quote(str(pager))} paged"), "after")
    assert screen.split("\n")[:3] == ["paged: one", "paged: two", "after"]


def test_a_pager_that_cannot_be_started_is_done_without(tmux: TmuxServer, tmp_path: Path) -> None:
    pager = tmp_path / "pager"
    pager.write_text("#!/no/such/interpreter\n")
    pager.chmod(0o755)
    assert tmux.wait_for_text(show(tmux, str(pager)), "after").split("\n")[:3] == ["one", "two", "after"]


@pytest.mark.parametrize("pager", ["", "cat", "no-such-pager", "'"])
def test_without_a_pager_the_output_is_shown_as_it_is(tmux: TmuxServer, pager: str) -> None:
    assert tmux.wait_for_text(show(tmux, pager), "after").split("\n")[:3] == ["one", "two", "after"]


def test_a_pager_that_is_left_early_is_no_error_and_ctrl_c_is_its_own_key(tmux: TmuxServer, tmp_path: Path) -> None:
    pager = tmp_path / "pager"
    pager.write_text("#!/bin/sh\ntrap 'echo caught; exit' INT\necho ready\nwhile :; do sleep 0.1; done\n")
    pager.chmod(0o755)
    pane = show(tmux, str(pager))
    tmux.wait_for_text(pane, "ready")
    tmux.run("send-keys", "-t", pane, "C-c")
    screen = tmux.wait_for_text(pane, "after")
    assert "caught" in screen
    assert "Traceback" not in screen


def test_what_a_pager_that_is_left_early_has_not_taken_is_not_shown(tmux: TmuxServer, tmp_path: Path) -> None:
    pager = tmp_path / "pager"
    pager.write_text("#!/bin/sh\nhead -c 4\n")
    pager.chmod(0o755)
    long = PAGED.replace('"one\\ntwo\\n"', '"one\\n" + "two\\n" * 100_000')
    assert long != PAGED
    run = ("env", f"PAGER={pager}", sys.executable, "-c", f"{long}\nimport time; time.sleep(60)")
    screen = tmux.wait_for_text(tmux.open_terminal(*run), "after")
    assert screen.split("\n")[:2] == ["one", "after"]


def test_in_a_pipe_there_is_no_pager(capfd: pytest.CaptureFixture[str]) -> None:
    with paged(True):
        print("one", flush=True)
    assert capfd.readouterr().out == "one\n"
