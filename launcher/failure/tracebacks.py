"""Shortens tracebacks: the exception first, the user's frames in full, libraries' frames folded. Pure."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

import launcher
from launcher.numbers import plural

LONGEST = 25  # lines of a traceback
LONGEST_MESSAGE = 6  # lines of an exception's message
_LAUNCH = f"{Path(launcher.__file__).parent}/"
_HEADER = re.compile(r"(Exception Group |Original )?Traceback \(most recent call last\):")
_START = re.compile(  # the second form: after text without a newline
    r"^(?:  \+ Exception Group )?Traceback \(most recent call last\):|(?<=\S)Traceback \(most recent call last\):$",
    re.MULTILINE,
)
_FRAME = re.compile(r'  File "(?P<file>.+)", line (?P<line>\d+)(, in (?P<function>.*))?$')
_SYNTAX_ERROR = re.compile(r'^  File ".+", line \d+\n( {4}.*\n)*(Syntax|Indentation|Tab)Error: .*', re.MULTILINE)
_BAR = re.compile(r"(?P<indent> +)[|+] ?")  # the prefix of an exception group's lines
_SUB_EXCEPTION = re.compile(r"(?P<indent> +)\+(?P<opens>-\+)?-{4,}( (?P<number>\d+|\.\.\.) -+)?$")
_LINKS = {
    "During handling of the above exception, another exception occurred:": "while handling",
    "The above exception was the direct cause of the following exception:": "caused by",
}
_POINTS_ABOVE = re.compile(r"^\S.*(above.* root cause|root cause above)[^\n]*\Z", re.MULTILINE)  # in its message
_REPEATED = re.compile(r"  \[Previous line repeated (\d+) more times?\]")
_LOG_LINE = re.compile(
    r"\[?[A-Za-z]*\d*\]?:?\s*\[?\d{4}-\d\d-\d\d[ T]|\[?[EWIF]\d{3,4} |[A-Z]+(: {4}| \d\d-\d\d \d\d:\d\d:)"
)
_CARETS = re.compile(r" +[~^]+ *$")
_MACHINERY = {
    "runpy": re.compile(r"^<frozen (runpy|importlib)|/runpy\.py$"),
    "asyncio": re.compile(r"/lib(64)?/python3[^/]*/asyncio/"),
    "torch.distributed": re.compile(r"/torch/distributed/"),
    "launch": re.compile(rf"^{re.escape(_LAUNCH)}(?!workload/)|/launcher/launch_torchrun_logs\.py$"),
}
_WORKLOAD = f"{_LAUNCH}workload/"
_LIBRARIES = re.compile(r"^<frozen|/(site|dist)-packages/|/lib(64)?/python3[^/]*/")


@dataclass(frozen=True)
class Frame:
    file: str
    function: str  # empty for a syntax error
    lines: tuple[str, ...]  # as Python wrote them
    repeated: int = 0  # how many more times it occurred


@dataclass
class Raised:
    """One exception of a chain or group."""

    link: str = ""  # "caused by" …; empty for the exception that ended the program
    message: list[str] = field(default_factory=list)  # starts with the exception's name
    frames: list[Frame] = field(default_factory=list)


# --- where it is ------------------------------------------------------------------------------------------------------


def find_traceback(text: str) -> str:
    """The last traceback with its chained exceptions, without later lines. Empty if there is none.

    One that names another above it as the cause, as those of vLLM's server do, is passed over for that.
    """
    starts = [match.start() for match in _START.finditer(text)]
    syntax = [match for match in _SYNTAX_ERROR.finditer(text) if not starts or match.start() > starts[-1]]
    if syntax and not (starts and _end(text[starts[-1] :]) >= syntax[-1].end() - starts[-1]):
        return syntax[-1].group()
    found = ""
    for above in _from_the_last(text, starts):
        found = found or above
        if not points_above(above):
            return above
    return found


def _from_the_last(text: str, starts: list[int]) -> Iterator[str]:
    """The tracebacks that begin at `starts`, chained ones together. Each looks at its own part of the text alone."""
    starts, stop = list(starts), len(text)
    while starts:
        first = last = starts.pop()
        while starts and any(link in text[starts[-1] : first] for link in _LINKS):
            first = starts.pop()
        yield text[first : last + _end(text[last:stop])].rstrip("\n")
        stop = first


def points_above(traceback: str) -> bool:
    """Whether its message says that the cause is in the log above it."""
    return bool(_POINTS_ABOVE.search(traceback))


def _end(text: str) -> int:
    """Where the traceback that the text begins with ends. Its message may have several lines, but no empty one."""
    header, *lines = text.splitlines(keepends=True)
    position, in_message, is_group = len(header), False, "+" in header
    for line in lines:
        bare = line.rstrip("\n")
        if is_group and not _BAR.match(bare):
            break
        if not is_group and in_message and (not bare or _is_log_line(bare)):
            break
        in_message = in_message or (bool(bare) and not bare.startswith(" "))
        position += len(line)
    return position


def _is_log_line(line: str) -> bool:
    return bool(_LOG_LINE.match(line))


# --- what it says -----------------------------------------------------------------------------------------------------


def read_traceback(text: str) -> list[Raised]:
    """The exceptions of a traceback: first the one that ended the program, then its causes or parts."""
    chains = [_Chain()]
    at_column = {0: chains[0]}  # the parts of an exception group are indented
    for line in text.splitlines():
        if part := _SUB_EXCEPTION.match(line):
            column = len(part["indent"]) + (2 if part["opens"] else 0)
            if part["number"]:
                chains.append(_Chain(f"sub-exception {part['number']}:"))
                at_column[column] = chains[-1]
            continue
        bar = _BAR.match(line) if "Exception Group Traceback" in text else None
        column = len(bar["indent"]) if bar else 0
        chain = at_column.get(column, chains[0])
        chain.take(line[bar.end() :] if bar else line)
    return [raised for chain in chains for raised in chain.in_order()]


class _Chain:
    """A chain of exceptions in order of time. Each is followed by a worker's exception that its message quotes."""

    def __init__(self, title: str = "") -> None:
        self.title = title  # of its last exception
        self.raised: list[list[Raised]] = []
        self.expects = "start"  # or "frames", "message"

    def take(self, line: str) -> None:
        frame = _FRAME.match(line)
        if line in _LINKS and self.raised:
            self.raised[-1][0].link = _LINKS[line]
            self.expects = "start"
        elif header := _HEADER.match(line):
            self._begin(is_of_worker=header[1] == "Original ")
        elif frame and self.expects != "message":
            self._begin_without_header()
            self._newest.frames.append(Frame(frame["file"], frame["function"] or "", (line,)))
        elif self.expects == "frames" and line.startswith("  ") and self._newest.frames:
            self._newest.frames[-1] = _with_line(self._newest.frames[-1], line)
        elif line.strip():
            self._begin_without_header()
            self.expects = "message"
            self._newest.message.append(line)

    def in_order(self) -> list[Raised]:
        return [raised for together in reversed(self.raised) for raised in together]

    @property
    def _newest(self) -> Raised:
        return self.raised[-1][-1]

    def _begin(self, is_of_worker: bool = False) -> None:
        if is_of_worker and self.raised:
            self.raised[-1].append(Raised("caused by"))
        else:
            self.raised.append([Raised(self.title)])
        self.expects = "frames"

    def _begin_without_header(self) -> None:
        """For an exception without a header: the script's own syntax error, or an unraised part of a group."""
        if self.expects == "start":
            self._begin()


def _with_line(frame: Frame, line: str) -> Frame:
    if repeated := _REPEATED.match(line):
        return replace(frame, repeated=int(repeated[1]))
    return replace(frame, lines=(*frame.lines, line))


# --- how it is shown --------------------------------------------------------------------------------------------------


def condensed(traceback: str, most: int = LONGEST) -> list[str]:
    """At most `most` lines: each exception's own line, then its frames, the innermost last. No frame appears twice.

    If that is too long, caret lines are dropped first, then libraries' frames, then the outermost frames.
    """
    exceptions = _each_frame_once(read_traceback(traceback))
    for is_short in (False, True):
        blocks = [_block(raised, is_short) for raised in exceptions]
        if sum(map(len, blocks)) <= most:
            break
    return _fitted(blocks, most)


def _each_frame_once(exceptions: list[Raised]) -> list[Raised]:
    """A frame that was shown before counts as repeated."""
    seen: set[tuple[str, ...]] = set()
    for raised in exceptions:
        frames: list[Frame] = []
        for frame in raised.frames:
            if frame.lines not in seen:
                frames.append(frame)
            elif frames:
                frames[-1] = replace(frames[-1], repeated=frames[-1].repeated + 1 + frame.repeated)
            seen.add(frame.lines)
        raised.frames = frames
    return exceptions


def _block(raised: Raised, is_short: bool) -> list[str]:
    """The exception's own lines, then its frames."""
    first, *more = raised.message or ["(no message)"]
    left_out = len(more) - LONGEST_MESSAGE + 1
    if left_out > 1:
        more = [*more[: LONGEST_MESSAGE - 1], f"... {left_out} more lines of this message"]
    linked = f"{raised.link} {first}" if raised.link else first
    return [linked, *more, *(line for group in _folded(raised.frames, is_short) for line in group)]


def _folded(frames: Iterable[Frame], is_short: bool) -> Iterator[list[str]]:
    frames = list(frames)
    with_own = any(not _LIBRARIES.search(frame.file) and not frame.file.startswith(_LAUNCH) for frame in frames)
    for whose, group in groupby(frames, lambda frame: _whose(frame, with_own, is_short)):
        together = list(group)
        if whose is None:
            yield from (_lines(frame, is_short) for frame in together)
        else:
            count = len(together) + sum(frame.repeated for frame in together)
            yield [f"  ... {whose}, {plural(count, 'frame')}"]


def _whose(frame: Frame, with_own: bool, is_short: bool) -> str | None:
    """The library into whose folded line the frame goes. None if the frame is shown."""
    if not frame.function:
        return None
    if frame.file.startswith(_WORKLOAD):
        return "launch" if with_own else None
    name = next((name for name, files in _MACHINERY.items() if files.search(frame.file)), None)
    if name is None and is_short and with_own and _LIBRARIES.search(frame.file):
        return "libraries"
    return name


def _lines(frame: Frame, is_short: bool) -> list[str]:
    with_carets = not is_short or not frame.function
    lines = [line for line in frame.lines if with_carets or not _CARETS.fullmatch(line)]
    times = plural(frame.repeated, "more time")
    return [*lines, f"    (the same {times})"] if frame.repeated else lines


def _fitted(blocks: list[list[str]], most: int) -> list[str]:
    """Cut the longest blocks after their first line until all fit, and say how many lines are hidden."""
    lines = [line for block in blocks for line in block]
    if len(lines) <= most:
        return lines
    kept = [len(block) for block in blocks]
    while sum(kept) > most - 1 and max(kept) > 1:
        kept[kept.index(max(kept))] -= 1
    shown = [line for block, count in zip(blocks, kept, strict=True) for line in _cut(block, count)][: most - 1]
    return [*shown, f"... {len(lines) - len(shown)} more lines"]


def _cut(block: list[str], count: int) -> list[str]:
    """Drop lines after the first: the innermost frames, at the end, say most."""
    return block if len(block) <= count else [block[0], *(block[len(block) - count + 1 :] if count > 1 else [])]
