"""Opens the files of a run safely: another user may have written to its directory.

Only regular files are opened. A symbolic link as the last part of a path is not followed, and a FIFO, device or socket
cannot block the reader. Reads are limited in size. A file is replaced by a rename.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from launcher.home import user_name

SMALL = 4 * 1024 * 1024  # bytes; no state or configuration comes near
_SAFE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def open_regular(path: Path, flags: int = os.O_RDONLY, mode: int = 0o666, follow: bool = False) -> int:
    """A descriptor of a regular file. Raises OSError for anything else.

    `follow` allows a symbolic link, for a file that the user has named (a model cache is full of links).
    """
    descriptor = _open(path, flags, mode, follow)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise _not_regular(path)
    if flags & os.O_ACCMODE != os.O_RDONLY and status.st_nlink > 1:
        os.close(descriptor)
        raise OSError(errno.EMLINK, "has a second name (a hard link), so another file would change as well", str(path))
    os.set_blocking(descriptor, True)
    return descriptor


def matching(directory: Path, pattern: str) -> list[Path]:
    """The paths below a directory that match, sorted. Empty if it is not there, or is being removed."""
    try:
        return sorted(directory.glob(pattern))
    except OSError:
        return []


def open_directory(path: Path) -> int:
    """A descriptor of a directory. Raises OSError, also for a symbolic link."""
    return _open(path, os.O_RDONLY | os.O_DIRECTORY)


def open_pipe(path: Path) -> int:
    """A descriptor to write to a FIFO that has a reader. Writing never blocks. Raises OSError."""
    descriptor = _open(path, os.O_WRONLY)
    if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is not a FIFO", str(path))
    return descriptor


def _open(path: Path, flags: int, mode: int = 0o666, follow: bool = False) -> int:
    safe = _SAFE & ~os.O_NOFOLLOW if follow else _SAFE
    try:
        return os.open(path, flags | safe, mode)
    except OSError as error:
        if error.errno == errno.ELOOP and path.is_symlink():
            raise OSError(errno.ELOOP, "is a symbolic link, which is not followed", str(path)) from None
        if error.errno == errno.ENXIO:  # a FIFO without a reader, or a socket
            raise _not_regular(path) from None
        raise


def _not_regular(path: Path) -> OSError:
    return OSError(errno.EINVAL, "is not a regular file", str(path))


@dataclass(frozen=True)
class Bounds:
    """After all links, a file must be below `directory` and, if `owner` (a uid) is set, belong to that user."""

    directory: Path  # without links in it
    owner: int | None = None

    def has(self, path: Path) -> bool:
        """Whether the path leads below the directory. The file need not exist yet."""
        return Path(os.path.realpath(path)).is_relative_to(self.directory)

    def check(self, path: Path) -> None:
        """Raises OSError if the file must not be opened. Does not open it."""
        if not self.has(path):
            raise OSError(errno.EXDEV, f"leads outside {self.directory}", str(path))
        if self.owner is not None and os.path.exists(path):  # noqa: PTH110 (Path.exists raises without permission)
            self._check_owner(path.stat(), path)

    def check_open(self, descriptor: int, path: Path) -> None:
        """The same check for an open file: the kernel says which file it really is."""
        if not Path(os.readlink(f"/proc/self/fd/{descriptor}")).is_relative_to(self.directory):  # noqa: PTH115
            raise OSError(errno.EXDEV, f"leads outside {self.directory}", str(path))
        self._check_owner(os.fstat(descriptor), path)

    def _check_owner(self, status: os.stat_result, path: Path) -> None:
        if self.owner not in (None, status.st_uid):
            raise OSError(errno.EPERM, f"is {user_name(status.st_uid)}'s, unlike the run", str(path))


def reading(path: Path, follow: bool = False) -> BinaryIO:
    """Open for reading, unbuffered. A caller that passes `follow` must check `Bounds`. Raises OSError."""
    return os.fdopen(open_regular(path, follow=follow), "rb", buffering=0)


def appending(path: Path) -> BinaryIO:
    """Open for appending, unbuffered. Creates a missing file. Raises OSError."""
    return os.fdopen(open_regular(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab", buffering=0)


def read_bytes(path: Path, limit: int = SMALL, follow: bool = False) -> bytes:
    """The whole of a small file. Raises OSError, also if it is longer than `limit`."""
    with os.fdopen(open_regular(path, follow=follow), "rb") as file:
        return _all_of(file, limit, path)


def read_end(path: Path, most: int, after: int = 0) -> bytes:
    """The last `most` bytes of a file of any size, none of them before position `after`. Raises OSError."""
    with reading(path) as file:
        file.seek(max(after, file.seek(0, 2) - most))
        return file.read(most)


def read_named(path: Path, limit: int = SMALL) -> bytes:
    """The whole of a small file that the user has named. For a pipe, `<(command)`, this waits for the writer."""
    with path.open("rb") as file:
        return _all_of(file, limit, path)


def _all_of(file: BinaryIO, limit: int, path: Path) -> bytes:
    content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"is longer than {limit} bytes", str(path))
    return content


def lines_of(file: BinaryIO, longest: int) -> Iterator[bytes]:
    """The lines of a file, with their newlines. Longer lines are skipped and never held in memory."""
    is_rest = False
    while piece := file.readline(longest):
        is_whole = piece.endswith(b"\n") or len(piece) < longest
        if is_whole and not is_rest:
            yield piece
        is_rest = not piece.endswith(b"\n")


def overwrite(path: Path, content: bytes) -> None:
    """Write to the file in place. Creates a missing file. Raises OSError."""
    with os.fdopen(open_regular(path, os.O_WRONLY | os.O_CREAT), "wb") as file:
        file.truncate()
        file.write(content)


def write_atomically(path: Path, text: str, mode: int = 0o666) -> None:
    """Replace the file or link of this name in one step: no reader ever sees half of it. Raises OSError."""
    with replacing(path, mode) as file:
        file.write(text.encode(errors="surrogateescape"))  # an argument or a path need not be UTF-8


@contextmanager
def replacing(path: Path, mode: int = 0o666) -> Iterator[BinaryIO]:
    """The same for a file written in pieces: the new file replaces the old one at the end. Raises OSError."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        with os.fdopen(open_regular(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            yield file
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def make_directory(path: Path) -> None:
    """Create a directory. Raises OSError for a symbolic link, which could lead anywhere."""
    path.mkdir(parents=True, exist_ok=True)
    check_no_link(path)


def check_no_link(path: Path) -> None:
    """Raises OSError for a symbolic link."""
    if path.is_symlink():
        raise OSError(errno.ELOOP, "is a symbolic link, which is not followed", str(path))
