"""`launch status --watch` in a terminal: what it draws, when, and what it leaves."""

import shlex
import sys
from pathlib import Path

import pytest

from launcher.view.status.watch import drawn
from tests.tmux_server import TmuxServer
from tests.waiting import until

WATCH = """
import sys
from pathlib import Path
from launcher.view.status.watch import Page, watch
file = Path(sys.argv[1])
watch(lambda: Page(text := file.read_text(), [file], "over" in text))
"""
LONG = "x" * 250


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 50)])
def test_no_line_is_wrapped_and_the_page_is_drawn_anew_until_its_last_one_which_stays(
    tmux: TmuxServer, tmp_path: Path, size: tuple[int, int]
) -> None:
    file = tmp_path / "page"
    file.write_text(f"first\n{LONG}\nstep 1")
    command = shlex.join([sys.executable, "-c", WATCH, str(file)])
    pane = tmux.open_terminal("sh", "-c", f"echo before; {command}; sleep 600", columns=size[0], lines=size[1])

    def rows() -> list[str]:
        return tmux.run("capture-pane", "-p", "-t", pane).rstrip().splitlines()

    until(lambda: rows() == ["first", "x" * size[0], "step 1"])
    file.write_text("first\nstep 2")
    until(lambda: rows() == ["first", "step 2"])
    file.write_text(f"first\n{LONG}")
    until(lambda: rows() == ["first", "x" * size[0]])
    file.write_text("over")
    until(lambda: rows() == ["before", "over"])


def test_a_page_that_is_too_long_says_how_many_lines_have_no_room() -> None:
    assert "\x1b[2Ka\r\n\x1b[2Kb\r\n\x1b[J3 more lines" in drawn(list("abcde"), (80, 3), colours=False)
    assert "more" not in drawn(list("abc"), (80, 3), colours=False)
