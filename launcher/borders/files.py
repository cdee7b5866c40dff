"""Opening files of a run, whose directory somebody else may have filled.

Only regular files are opened: no symbolic link as the last part of a path is followed, no FIFO, device or socket holds
up who opens it. What is read is bounded, and what is written anew is created, never an existing file taken.
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
    """A descriptor of a regular file. Raises OSError, which says it when there is something else.

    With `follow` a link is followed: for files that the user has named, which may be links, as in a cache of models.
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


def open_directory(path: Path) -> int:
    """A descriptor of a directory, which is no link. Raises OSError."""
    return _open(path, os.O_RDONLY | os.O_DIRECTORY)


def open_pipe(path: Path) -> int:
    """A descriptor to write to a FIFO that somebody reads; writing never waits. Raises OSError."""
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
        if error.errno == errno.ENXIO:  # a FIFO that nobody reads, or a socket
            raise _not_regular(path) from None
        raise


def _not_regular(path: Path) -> OSError:
    return OSError(errno.EINVAL, "is not a regular file", str(path))


@dataclass(frozen=True)
class Bounds:
    """Where a file must lie, whatever links lead there: below a directory, and with `owner` (a uid) be that user's."""

    directory: Path  # without links in it
    owner: int | None = None

    def has(self, path: Path) -> bool:
        """Whether the path leads below the directory; the file need not exist yet."""
        return Path(os.path.realpath(path)).is_relative_to(self.directory)

    def check(self, path: Path) -> None:
        """Raises OSError when what the path leads to may not be opened. It is not opened here."""
        if not self.has(path):
            raise OSError(errno.EXDEV, f"leads outside {self.directory}", str(path))
        if self.owner is not None and os.path.exists(path):  # noqa: PTH110 (Path.exists raises where one may not look)
            self._check_owner(path.stat(), path)

    def check_open(self, descriptor: int, path: Path) -> None:
        """The same for what was opened by that path: the kernel says what it is."""
        if not Path(os.readlink(f"/proc/self/fd/{descriptor}")).is_relative_to(self.directory):  # noqa: PTH115
            raise OSError(errno.EXDEV, f"leads outside {self.directory}", str(path))
        self._check_owner(os.fstat(descriptor), path)

    def _check_owner(self, status: os.stat_result, path: Path) -> None:
        if self.owner not in (None, status.st_uid):
            raise OSError(errno.EPERM, f"is {user_name(status.st_uid)}'s, unlike the run", str(path))


def reading(path: Path, follow: bool = False) -> BinaryIO:
    """Open for reading, unbuffered; with `follow`, which is for who checks `Bounds`, through links. Raises OSError."""
    return os.fdopen(open_regular(path, follow=follow), "rb", buffering=0)


def appending(path: Path) -> BinaryIO:
    """Open for appending, unbuffered; created if it is not there. Raises OSError."""
    return os.fdopen(open_regular(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab", buffering=0)


def read_bytes(path: Path, limit: int = SMALL, follow: bool = False) -> bytes:
    """All of a small file. Raises OSError, also when it is longer than `limit`."""
    with os.fdopen(open_regular(path, follow=follow), "rb") as file:
        return _all_of(file, limit, path)


def read_named(path: Path, limit: int = SMALL) -> bytes:
    """The same of a file that the user has named, which may be a pipe, as `<(command)` is: it is waited for."""
    with path.open("rb") as file:
        return _all_of(file, limit, path)


def _all_of(file: BinaryIO, limit: int, path: Path) -> bytes:
    content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"is longer than {limit} bytes", str(path))
    return content


def lines_of(file: BinaryIO, longest: int) -> Iterator[bytes]:
    """The lines of a file, with their ends; those that are longer are left out, and never in memory."""
    is_rest = False
    while piece := file.readline(longest):
        is_whole = piece.endswith(b"\n") or len(piece) < longest
        if is_whole and not is_rest:
            yield piece
        is_rest = not piece.endswith(b"\n")


def overwrite(path: Path, content: bytes) -> None:
    """Write to the file itself, which is created if it is not there. Raises OSError."""
    with os.fdopen(open_regular(path, os.O_WRONLY | os.O_CREAT), "wb") as file:
        file.truncate()
        file.write(content)


def write_atomically(path: Path, text: str, mode: int = 0o666) -> None:
    """Replace the file, or the link, of this name: nobody ever reads half of it. Raises OSError."""
    with replacing(path, mode) as file:
        file.write(text.encode(errors="surrogateescape"))  # bytes of a word or a path


@contextmanager
def replacing(path: Path, mode: int = 0o666) -> Iterator[BinaryIO]:
    """The same for what is written piece by piece: it takes the place of the other at the end. Raises OSError."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        with os.fdopen(open_regular(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            yield file
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def make_directory(path: Path) -> None:
    """A directory of ours. Raises OSError when a symbolic link is in its place: it could lead anywhere."""
    path.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():
        raise OSError(errno.ELOOP, "is a symbolic link, which is not followed", str(path))
