"""Reading a file that grows, as a log does, and may be truncated, replaced or deleted meanwhile."""

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from launcher.borders.files import Bounds, reading


class Added(NamedTuple):
    """What was added to a file."""

    block: bytes = b""
    skipped: int = 0  # bytes before the block that were left out
    is_anew: bool = False  # the block is the beginning of another file, or of one that has become shorter


class GrowingFile:
    """A file and how far it has been read; it need not exist yet. `skip` leaves out what is there already.

    With `bounds`, links are followed to wherever these allow.
    """

    def __init__(self, path: Path, bounds: Bounds | None = None, skip: bool = False) -> None:
        self.path = path
        self.trouble: str | None = None  # why it could not be read, although it is there
        self.changed = 0.0  # seconds since the epoch
        self._bounds = bounds
        self._is_checked = False
        self._file: tuple[int, int] | None = None
        self._position = 0
        if skip:
            with suppress(OSError):
                status = path.stat()
                self._file, self._position = _identity(status), status.st_size

    def added(self, most: int, newest: bool = False) -> Added:
        """Up to `most` bytes of what was added since the last call: the first of them, or with `newest` the last."""
        try:
            # NFS shows what another machine has written only to those who open the file.
            return Added() if self._bounds is None and self._is_unchanged() else self._read(most, newest)
        except (FileNotFoundError, NotADirectoryError):
            self._file, self._is_checked = None, False
        except OSError as error:
            self.trouble, self._is_checked = error.strerror, False
        return Added()

    def _is_unchanged(self) -> bool:
        """A third of the cost of opening the file, once a second for days."""
        status = self.path.stat()
        return status.st_size == self._position and _identity(status) == self._file

    def _read(self, most: int, newest: bool) -> Added:
        if self._bounds and not self._is_checked:
            self._bounds.check(self.path)
        with reading(self.path, follow=self._bounds is not None) as file:
            status = os.fstat(file.fileno())
            found, size = _identity(status), status.st_size
            if self._bounds and found != self._file:
                self._bounds.check_open(file.fileno(), self.path)
            is_anew = found != self._file or size < self._position
            start = 0 if is_anew else self._position
            skipped = max(0, size - start - most) if newest else 0
            file.seek(start + skipped)
            block = file.read(min(most, size - start - skipped))  # no further, although it grows
        self._file, self._is_checked, self.changed = found, True, status.st_mtime
        self._position = start + skipped + len(block)
        return Added(block, skipped, is_anew)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
