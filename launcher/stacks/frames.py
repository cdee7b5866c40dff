"""Python stacks as data, parsed from the output of py-spy or faulthandler. Pure."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_FAULTHANDLER_FRAME = re.compile(r'  File "(.*)", line (\d+) in (.*)')


@dataclass(frozen=True)
class Frame:
    function: str  # with its class, if known
    file: str
    line: int


@dataclass(frozen=True)
class Thread:
    """The frames of one thread, innermost first."""

    name: str
    frames: tuple[Frame, ...]
    waits: bool = False  # for the operating system, if known


@dataclass(frozen=True)
class PythonProcess:
    """A Python process of a run."""

    pid: int
    component: str
    rank: int | None = None  # global rank; for a child, the rank that it belongs to
    is_child: bool = False  # below a component or a rank, for example a data loader's worker
    has_ranks: bool = False  # it is torchrun
    node: int | None = None  # if several nodes are shown


@dataclass(frozen=True)
class Stack:
    """A process's threads, the main thread first. If there are none, `trouble` says why."""

    process: PythonProcess
    threads: tuple[Thread, ...] = ()
    trouble: str = ""


def read_pyspy(text: str, pid: int) -> tuple[Thread, ...]:
    """The threads in the output of `py-spy dump --json`. Raises ValueError for other text."""
    threads = [thread for thread in json.loads(text) if thread["frames"]]
    threads.sort(key=lambda thread: thread["os_thread_id"] != pid)
    return tuple(map(_pyspy_thread, threads))


def _pyspy_thread(thread: dict[str, Any]) -> Thread:
    frames = tuple(Frame(frame["name"], frame["filename"], frame["line"]) for frame in thread["frames"])
    return Thread(thread["thread_name"] or str(thread["os_thread_id"]), frames, waits=not thread["active"])


def read_faulthandler(text: str) -> tuple[Thread, ...]:
    """The threads in faulthandler's output, which has the main thread last."""
    return tuple(_faulthandler_threads(text))[::-1]


def _faulthandler_threads(text: str) -> Iterator[Thread]:
    for block in re.split(r"^(?=(?:Current thread|Thread) )", text, flags=re.MULTILINE):
        found = _FAULTHANDLER_FRAME.findall(block)
        if found:
            name = re.search(r"0x0*([0-9a-f]+)", block)
            frames = tuple(Frame(function, file, int(line)) for file, line, function in found)
            yield Thread(name[0] if name else "", frames)
