"""The stacks of a run as text, each stack once. Pure, except that paths depend on the working directory."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from launcher.borders.screen import in_lines, in_one_line
from launcher.stacks.collectives import ranks_text
from launcher.stacks.frames import Frame, PythonProcess, Stack, Thread
from launcher.stacks.groups import StackGroup, calling_frame, group_stacks, stragglers, telling_frame

_LIBRARY = re.compile(r"^.*/lib(?:64)?/python3[^/]*/(?:(?:site|dist)-packages/)?")
_FUNCTION_WIDTH, _WIDEST_FUNCTION = 28, 40  # columns


def stacks_text(stacks: Sequence[Stack], collectives: Sequence[str] = (), *, every_thread: bool = False) -> str:
    """For each group, a headline and its main thread's stack, innermost frame first; then the stragglers.

    Other threads and torchrun, which only waits, take one line each. With `every_thread` their whole stacks are shown.
    `collectives` are lines such as "rank 1 never enqueued all_reduce 4 of the default group".
    """
    groups = group_stacks(stacks)
    blocks = [list(_block(group, every_thread)) for group in groups]
    blocks += [list(_refused(stacks)), list(collectives), list(_stragglers(groups))]
    return "\n\n".join(in_lines(block) for block in blocks if block) + "\n"


def verdict_lines(stacks: Sequence[Stack]) -> list[str]:
    """A summary: one line for each place where ranks or components are; then the stragglers."""
    groups = group_stacks(stacks)
    first = [group.processes[0] for group in groups]
    told = [group for group, process in zip(groups, first, strict=True) if not (process.is_child or process.has_ranks)]
    lines = [f"{who(group.processes)} {_verb(group)} {_shortly(group.main.frames)}" for group in told]
    return [in_one_line(line) for line in (*lines, *_refused(stacks), *_stragglers(groups))]


def _block(group: StackGroup, every_thread: bool) -> Iterator[str]:
    yield f"{who(group.processes)} {_verb(group)} {_where(group.main.frames)}"
    yield from _frames(group.main) if every_thread or not group.processes[0].has_ranks else ()
    for thread in group.others:
        yield f"  thread {thread.name}: {_where(thread.frames)}"
        yield from _frames(thread) if every_thread else ()


def _frames(thread: Thread) -> Iterator[str]:
    functions = [_function(frame) for frame in thread.frames]
    width = min(_WIDEST_FUNCTION, max([_FUNCTION_WIDTH, *map(len, functions)]))
    return (f"    {it:<{width}} {_place(frame)}" for it, frame in zip(functions, thread.frames, strict=True))


def _refused(stacks: Iterable[Stack]) -> Iterator[str]:
    for stack in stacks:
        if stack.trouble:
            at = f"pid {stack.process.pid}" + ("" if stack.process.node is None else f" on node {stack.process.node}")
            yield f"{_name([stack.process])} ({at}): {stack.trouble}"


def _stragglers(groups: Sequence[StackGroup]) -> Iterator[str]:
    ranks = stragglers(groups)
    if ranks:
        yield f"{'straggler' if len(ranks) == 1 else 'stragglers'}: {ranks_text(ranks)}"


# --- words ------------------------------------------------------------------------------------------------------------


def who(processes: Sequence[PythonProcess]) -> str:
    """The processes of one group: "ranks 0-6", "orchestrator", "trainer (torchrun)" or "child 4242 of rank 3".

    In a run on several nodes, what is no rank has its node: "inference on nodes 1 and 2".
    """
    nodes = {process.node for process in processes if process.node is not None and process.rank is None}
    return _name(processes) + (f" on {ranks_text(nodes, 'node')}" if nodes else "")


def _name(processes: Sequence[PythonProcess]) -> str:
    first = processes[0]
    if first.is_child:
        return _children(processes)
    if first.rank is not None:
        return ranks_text(process.rank or 0 for process in processes)
    return f"{first.component} (torchrun)" if first.has_ranks else first.component


def _children(processes: Sequence[PythonProcess]) -> str:
    first = processes[0]
    ranks = {process.rank or 0 for process in processes}
    parents = first.component if first.rank is None else ranks_text(ranks)
    if len(processes) == 1:
        return f"child {first.pid} of {parents}"
    return f"{len(processes)} children of {parents}"


def _verb(group: StackGroup) -> str:
    if len(group.processes) == 1:
        return "waits in" if group.waits else "is in"
    return "wait in" if group.waits else "are in"


def _where(frames: Sequence[Frame]) -> str:
    telling, caller = telling_frame(frames), calling_frame(frames)
    if caller is None or caller == telling:
        return f"{_function(telling)} ({_short_place(telling)})"
    return f"{_function(telling)}, called by {_function(caller)} ({_short_place(caller)})"


def _shortly(frames: Sequence[Frame]) -> str:
    """The function that was called, and the line of the user's own code that called it."""
    telling = telling_frame(frames)
    return f"{_function(telling)} ({_short_place(calling_frame(frames) or telling)})"


def _function(frame: Frame) -> str:
    return frame.function.replace(".<locals>", "")


def _short_place(frame: Frame) -> str:
    return f"{Path(frame.file).name}:{frame.line}"


def _place(frame: Frame) -> str:
    """File and line. The path is shortened to start at the working directory or at the library."""
    path = Path(_LIBRARY.sub("", frame.file))
    if path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    return f"{path}:{frame.line}"
