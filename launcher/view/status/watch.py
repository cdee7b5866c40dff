"""`launch status --watch`: a page that is drawn again when something has changed, and once a second or two."""

import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from launcher.view.terminal import DIM, painted, shows_colours, size_of_terminal

EVERY = 1.0  # seconds between two readings: times are counted on,
LOOK_EVERY = 0.15  # unless a file has changed that tells of an event
COST = 100  # reading may take this part of the time,
LONGEST = 10.0  # but is not put off longer
# Another screen without a cursor, where no line is wrapped; and back to what stood there before.
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h\x1b[?1049l"
_TOP, _LINE, _LAST, _DONE = "\x1b[?2026h\x1b[H", "\x1b[2K", "\x1b[J", "\x1b[?2026l"


@dataclass(frozen=True)
class Page:
    """What is shown now."""

    text: str
    told_by: Iterable[Path]  # files that change with every event
    is_last: bool  # the run is over


def watch(read: Callable[[], Page]) -> None:
    """Show the page until it is the last one, which stays on the screen, or until Ctrl-C."""
    sys.stdout.write(_ENTER)
    try:
        while not (page := _shown(read)).is_last:
            pass
    finally:
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()
    print(page.text)


def _shown(read: Callable[[], Page]) -> Page:
    """The page, after it was shown for as long as nothing new is to be expected."""
    began = time.thread_time()
    page = read()
    before = {file: _changed(file) for file in page.told_by}
    size = size_of_terminal()
    sys.stdout.write(drawn(page.text.split("\n"), size, shows_colours()))
    sys.stdout.flush()
    seconds = max(EVERY, min(LONGEST, COST * (time.thread_time() - began)))
    end = time.monotonic() + seconds
    while not page.is_last and (left := end - time.monotonic()) > 0:
        time.sleep(min(left, LOOK_EVERY))
        if size_of_terminal() != size or any(_changed(file) != when for file, when in before.items()):
            break
    return page


def drawn(lines: list[str], size: tuple[int, int], colours: bool) -> str:
    """The lines from the top of the screen. It says how many have no room."""
    rows = size[1]
    if len(lines) > rows:
        more = painted(f"{len(lines) - rows + 1} more lines", DIM, colours)
        lines = [*lines[: rows - 1], more]
    *above, last = lines
    # cleared before it is written: behind a full line the cursor stands on its last column
    return _TOP + "".join(f"{_LINE}{line}\r\n" for line in above) + f"{_LAST}{last}{_DONE}"


def _changed(file: Path) -> int:
    """When it was; -1 if it is not there."""
    try:
        return os.stat(file).st_mtime_ns  # noqa: PTH116 (a quarter of Path.stat)
    except OSError:
        return -1
