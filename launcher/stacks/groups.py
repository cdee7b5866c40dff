"""Groups processes whose main threads are at the same place, and finds stragglers. Pure."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from launcher.stacks.frames import Frame, PythonProcess, Stack, Thread

_STANDARD_LIBRARY = re.compile(r"^<frozen|/lib(64)?/python3[^/]*/(?!(site|dist)-packages/)")
_INSTALLED = re.compile(r"/(site|dist)-packages/")
_WRAPPERS = frozenset({"wrapper", "inner", "decorate_context", "_fn", "_call_impl", "_wrapped_call_impl"})


@dataclass(frozen=True)
class StackGroup:
    """Processes of one kind whose main threads are at the same place."""

    processes: tuple[PythonProcess, ...]
    main: Thread
    others: tuple[Thread, ...]  # their other threads, one for each place

    @property
    def waits(self) -> bool:
        return self.main.waits

    @property
    def is_of_ranks(self) -> bool:
        first = self.processes[0]
        return first.rank is not None and not first.is_child


def group_stacks(stacks: Iterable[Stack]) -> list[StackGroup]:
    """The groups in this order: ranks, the largest group first; other components; children."""
    together = defaultdict(list)
    for stack in stacks:
        if stack.threads:
            process = stack.process
            kind = (process.component, process.rank is None, process.is_child)
            together[kind, _places(stack.threads[0])].append(stack)
    return sorted(map(_group, together.values()), key=_order)


def _places(thread: Thread) -> tuple[tuple[str, int], ...]:
    """Compares files and lines only: in faulthandler's output the functions' names lack their classes."""
    return tuple((frame.file, frame.line) for frame in thread.frames)


def _group(members: Sequence[Stack]) -> StackGroup:
    mains = [stack.threads[0] for stack in members]
    main = Thread(mains[0].name, mains[0].frames, all(thread.waits for thread in mains))
    others = {_places(thread): thread for stack in members for thread in stack.threads[1:]}
    processes = sorted((stack.process for stack in members), key=lambda process: (process.rank or 0, process.pid))
    return StackGroup(tuple(processes), main, tuple(others.values()))


def _order(group: StackGroup) -> tuple[bool, bool, int, int]:
    first = group.processes[0]
    return first.is_child, first.rank is None, -len(group.processes), first.rank or 0


def stragglers(groups: Iterable[StackGroup]) -> tuple[int, ...]:
    """The ranks outside the collective that the others wait in.

    If no rank is in a collective, or all are, the ranks outside the largest group. Empty if no rank stands out.
    """
    of_ranks = [group for group in groups if group.is_of_ranks]
    apart = [group for group in of_ranks if not is_collective(telling_frame(group.main.frames))]
    if len(apart) == len(of_ranks) or not apart:
        sizes = sorted((len(group.processes) for group in of_ranks), reverse=True)
        alone = len(sizes) > 1 and sizes[0] > sizes[1]
        apart = [group for group in of_ranks if alone and len(group.processes) < sizes[0]]
    return tuple(sorted(process.rank or 0 for group in apart for process in group.processes))


def is_collective(frame: Frame) -> bool:
    return "/torch/distributed/" in frame.file


def telling_frame(frames: Sequence[Frame]) -> Frame:
    """The frame that says most: the one that the innermost frame of the user's own code has called.

    For a stack without the user's code, such as torchrun's, it is the innermost frame outside the standard library.
    """
    own = calling_frame(frames)
    if own is None:
        return next((frame for frame in frames if not _STANDARD_LIBRARY.search(frame.file)), frames[0])
    inwards = reversed(frames[: frames.index(own)])
    return next((frame for frame in inwards if _name(frame) not in _WRAPPERS), own)


def calling_frame(frames: Sequence[Frame]) -> Frame | None:
    """The innermost frame of the user's own code, if there is one."""
    return next((frame for frame in frames if _is_own(frame)), None)


def _is_own(frame: Frame) -> bool:
    return not _STANDARD_LIBRARY.search(frame.file) and not _INSTALLED.search(frame.file)


def _name(frame: Frame) -> str:
    return frame.function.rpartition(".")[2]
