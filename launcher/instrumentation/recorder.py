"""Lets launch ask this rank which collectives it has enqueued, also while it hangs in one.

torch answers on a Unix socket, in a thread of its own that needs no GIL. The socket stands in a directory of the run
that nobody else may enter. Programs that never import torch pay nothing for this, and torch is not imported for it.
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

_NOTE = b"Server listening to UNIX"  # what torch writes to stderr, where people look for the cause of a death


def open_recorder(run: RunDir) -> None:
    """Under torchrun, answer questions for this rank's collectives: at once, or as soon as torch has been imported."""
    if "RANK" not in os.environ or os.environ.get("WORLD_SIZE", "1") == "1":
        return
    if "torch" in sys.modules:
        _serve(run)
    else:
        sys.meta_path.insert(0, _AfterTorch(lambda: _serve(run)))


def _serve(run: RunDir) -> None:
    """Whatever is missing (an old torch, a file system without sockets), the rank goes on without."""
    with suppress(ImportError, OSError, RuntimeError), private_directory(run.sockets) as directory:
        from torch._C._distributed_c10d import _WorkerServer  # not in every build of torch

        name = str(os.getpid())
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=directory)  # of a process that had this pid before
        with _without_note():
            server = _WorkerServer(f"/proc/self/fd/{directory}/{name}")  # a Unix socket's path has at most 107 bytes
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(server))  # its destructor writes to stderr, last of all


@contextmanager
def private_directory(path: Path) -> Iterator[int]:
    """A descriptor of a directory that is this user's alone. Raises OSError if it cannot be, or is not."""
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
    """Keep torch's note off stderr; what other threads write meanwhile follows when it is over."""
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
    """Does something once torch has been imported, then is gone."""

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
