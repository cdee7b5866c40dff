"""Lets launch ask this rank which collectives it has enqueued, even while it hangs in one.

torch answers on a Unix socket, in its own thread without the GIL. The socket is in a directory of the run that only
this user can enter. This never imports torch: a program without torch pays nothing.
"""

import ctypes
import importlib.util
import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from launcher.borders.files import open_directory
from launcher.rundir import RunDir

_NOTE = b"Server listening to UNIX"  # torch writes it to stderr, where users look for the cause of a crash


def open_recorder(run: RunDir) -> None:
    """Under torchrun, answer questions about this rank's collectives, as soon as torch is imported."""
    if "RANK" not in os.environ or os.environ.get("WORLD_SIZE", "1") == "1":
        return
    if "torch" in sys.modules:
        _serve(run)
    else:
        sys.meta_path.insert(0, _AfterTorch(lambda: _serve(run)))


def _serve(run: RunDir) -> None:
    """If something is missing (an old torch, a file system without sockets), the rank runs without a recorder."""
    with suppress(ImportError, OSError, RuntimeError), private_directory(run.sockets) as directory:
        from torch._C._distributed_c10d import _WorkerServer  # not in every build of torch

        name = str(os.getpid())
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=directory)  # left by an earlier process with this pid
        with _without_note():
            server = _WorkerServer(f"/proc/self/fd/{directory}/{name}")  # a Unix socket's path has at most 107 bytes
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(server))  # never destroyed: its destructor writes to stderr


@contextmanager
def private_directory(path: Path) -> Iterator[int]:
    """A descriptor of a directory that only this user can enter. Raises OSError if there is none."""
    with suppress(FileExistsError):
        path.mkdir(mode=0o700, parents=True)
    descriptor = open_directory(path)
    try:
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
            raise PermissionError(f"{path} can be entered by others")
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _without_note() -> Iterator[None]:
    """Keep torch's note off stderr. What other threads write meanwhile appears afterwards."""
    stderr, kept = os.dup(2), os.memfd_create("stderr")
    os.dup2(kept, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.lseek(kept, 0, os.SEEK_SET)
        lines = os.read(kept, 1 << 20).splitlines(keepends=True)
        with suppress(OSError):
            os.write(2, b"".join(line for line in lines if _NOTE not in line))
        os.close(stderr)
        os.close(kept)


class _AfterTorch(MetaPathFinder):
    """An import hook that calls `then` once torch is imported, and removes itself."""

    def __init__(self, then: Callable[[], None]) -> None:
        self._then = then

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "torch":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_then(module: ModuleType) -> None:
            execute(module)
            self._then()

        spec.loader.exec_module = execute_then  # type: ignore[method-assign]
        return spec
