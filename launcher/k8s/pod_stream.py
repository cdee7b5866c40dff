"""What one pod prints, as `kubectl logs` gives it, into a file with each line once.

A stream of `kubectl logs -f` may end while the pod still prints: API servers and proxies close it after minutes or
hours. The next one begins at the time of the last lines, in whole seconds, so that it gives some of them again.
"""

import os
import re
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO

from launcher.borders.screen import in_one_line
from launcher.processes.process_tree import end_with

PAUSE = 10.0  # seconds from a start of kubectl to the next, if it has failed and given nothing
MOST_FAILURES = 3  # in a row, once the pod has ended
OVERLAP = 1  # seconds that are asked for again: stdout and stderr may be stamped in another order than they are written
LONGEST = 1 << 20  # bytes of a line that are read at once
_STAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d{1,9})?(Z|[+-]\d\d:\d\d) ")


class Seen:
    """Which lines of a pod's log have been read: those of the newest seconds, which may come again."""

    def __init__(self) -> None:
        self._seconds: dict[int, Counter[int]] = {}  # since the epoch
        self._again: Counter[int] = Counter()
        self._newest = self._second = 0
        self._stamp = (b"", b"")

    def since(self) -> str | None:
        """Where the next stream begins. None: with the first line."""
        self._again = sum(self._seconds.values(), Counter())
        return f"{datetime.fromtimestamp(self._newest - OVERLAP, UTC):%Y-%m-%dT%H:%M:%SZ}" if self._newest else None

    def new_text(self, piece: bytes) -> bytes:
        """The piece of a line without its time. Empty if it was read before. Only a line's first piece has a time."""
        stamp, line = _STAMP.match(piece), hash(piece)
        if self._again[line]:
            self._again[line] -= 1
            return b""
        if stamp and stamp.groups() != self._stamp:
            self._to(*stamp.groups())
        if self._second >= self._newest - OVERLAP:
            self._seconds.setdefault(self._second, Counter())[line] += 1
        return piece[stamp.end() :] if stamp else piece

    def _to(self, time: bytes, zone: bytes) -> None:
        """The lines are of this second now."""
        self._stamp = (time, zone)
        try:
            self._second = int(datetime.fromisoformat((time + zone).decode()).timestamp())
        except (ValueError, OverflowError):
            return
        if self._second > self._newest:
            self._newest = self._second
            self._seconds = {at: seen for at, seen in self._seconds.items() if at >= self._newest - OVERLAP}


class PodStream:
    """The log of a pod, one `kubectl logs` after the other. One thread asks it, which outlives kubectl."""

    def __init__(self, path: Path, argv: Sequence[str], follow: bool) -> None:
        self.trouble: str | None = None  # what kubectl says of a log that it does not give
        self._path, self._argv, self._follow = path, argv, follow
        self._seen = Seen()
        self._kubectl: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._started = 0.0
        self._failures = 0  # in a row
        self._is_complete = False

    @property
    def is_printing(self) -> bool:
        return self._reader is not None and self._reader.is_alive()

    @property
    def is_complete(self) -> bool:
        """Whether nothing more can come."""
        return self._is_complete and not self.is_printing

    def look(self, has_ended: bool) -> None:
        """Start kubectl if more may come. `has_ended` is said of the pod."""
        if self.is_printing or self._is_complete or (self._failures and time.monotonic() < self._started + PAUSE):
            return
        self._started = time.monotonic()
        since = self._seen.since()
        is_last = has_ended or not self._follow
        more = [*([] if is_last else ["-f"]), *([f"--since-time={since}"] if since else [])]
        with self._errors.open("wb") as errors:
            self._kubectl = subprocess.Popen(
                [*self._argv, "--timestamps", *more],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                preexec_fn=partial(end_with, os.getpid()),
            )
        self._reader = threading.Thread(target=self._read, args=(self._kubectl, is_last), daemon=True)
        self._reader.start()

    def give_up(self) -> None:
        """The pod is gone."""
        self._is_complete = True

    def wait(self) -> None:
        """Until kubectl has ended."""
        if self._reader:
            self._reader.join()

    def end(self) -> None:
        if self._kubectl and self._reader:
            self._kubectl.terminate()
            self._kubectl.wait()
            self._reader.join(1)  # longer only if somebody else holds an end of the pipe

    @property
    def _errors(self) -> Path:
        return self._path.with_suffix(".err")

    def _read(self, kubectl: "subprocess.Popen[bytes]", is_last: bool) -> None:
        """All that this kubectl gives. With `is_last`, the log was complete when it was started."""
        assert kubectl.stdout is not None
        with kubectl.stdout as pipe, self._path.open("ab", buffering=0) as log:
            has_given, rest = self._copy(pipe, log)
            code = kubectl.wait()
            if is_last and code == 0:  # else the stream was cut in this line, and the next one gives it again
                log.write(self._seen.new_text(rest))
        was_cut = code != 0 and (has_given or time.monotonic() > self._started + PAUSE)
        has_failed = code != 0 and not was_cut
        self._failures = self._failures + 1 if has_failed else 0
        if has_failed:
            words = self._errors.read_text(errors="replace").strip().removeprefix("error: ")
            self.trouble = in_one_line(words)[:500]
        if is_last:
            self._is_complete |= code == 0 or not self._follow or self._failures >= MOST_FAILURES

    def _copy(self, pipe: IO[bytes], log: IO[bytes]) -> tuple[bool, bytes]:
        """Writes the lines that are new. Returns whether there were any, and the last one if it has no end."""
        has_given = False
        while piece := pipe.readline(LONGEST):
            if not piece.endswith(b"\n") and len(piece) < LONGEST:
                return has_given, piece
            if text := self._seen.new_text(piece):
                has_given = True
                log.write(text)
        return has_given, b""
