"""Why a run failed: the culprit's traceback or last log lines, and the machine's facts, such as the OOM killer."""

import platform
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from launcher.failure.failure import Culprit, Failure, received_text
from launcher.failure.log_end import FAR, clean, tail
from launcher.failure.torchrun_account import (
    first_to_fail,
    rank_directories,
    recorded_error,
    signal_to_torchrun,
    times_of_errors,
    torchrun_blames,
)
from launcher.failure.tracebacks import condensed, find_traceback, points_above
from launcher.plan.spec import Plan, ProcessSpec, Ranks

SHOWN_COLUMNS = 1000  # a longer line is cut
LAST_LINES = 20  # for an end without a traceback
LAST_LINES_OF_KILLED = 5  # fewer, as they do not say why it was killed

Facts = Callable[[Culprit], list[str]]
"""Finds the machine's facts about the culprit's end, one sentence each."""


def find_cause(
    plan: Plan,
    culprit: Culprit | None,
    collateral: tuple[str, ...] = (),
    told: Mapping[int, Failure] | None = None,
    facts: Facts = lambda culprit: [],
) -> Failure | None:
    """The failure of a run that has ended. None without a culprit: the run did not fail.

    A failure on another node is taken from that node's report. Node 0 hears all nodes, so its report always wins.
    """
    if culprit is None:
        return None
    told = told or {}
    heard = told.get(0) or told.get(culprit.node or 0)
    if heard or culprit.node is not None:
        failure = heard or _without_words(plan, culprit)
        return replace(failure, log=_stacks_here(plan, culprit, failure.log), collateral=collateral)
    failure = _find_here(plan, culprit, collateral, facts)
    return replace(failure, node=plan.nodes.rank, host=platform.node()) if plan.nodes else failure


def _without_words(plan: Plan, culprit: Culprit) -> Failure:
    """A failure on another node that has not sent its failure block."""
    hosts = plan.nodes.hosts if plan.nodes else ()
    host = hosts[culprit.node] if culprit.node is not None and culprit.node < len(hosts) else None
    where = f"node {culprit.node}" + (f", {host}," if host else "")
    unsaid = f"{where} has sent nothing more: launch was killed there, or the machine or its network is down"
    is_told = culprit.component == "launch"  # it has said itself why it could not go on
    cause = culprit.words or ("" if is_told else unsaid)
    return Failure(culprit.component, culprit.rank, culprit.what, cause, culprit.file, (), culprit.node, host)


def _stacks_here(plan: Plan, culprit: Culprit, log: Path | None) -> Path | None:
    """The stacks of a run that has stalled, if node 0 wrote them to a directory of its own: those of this node."""
    own = plan.run.watchdog_stacks
    return own if culprit.file and log and not log.exists() and own.exists() else log


def _find_here(plan: Plan, culprit: Culprit, collateral: tuple[str, ...], facts: Facts) -> Failure:
    spec = plan.process(culprit.component)
    if culprit.file or culprit.words:
        rank, log = global_rank(spec, culprit.rank), culprit.file or plan.run.launcher_log
        others = tuple(name for name in collateral if name != culprit.component)
        return Failure(culprit.component, rank, culprit.what, culprit.words, log, others)
    if spec is None:
        cause = "\n".join(facts(culprit))
        return Failure(culprit.component, None, culprit.what, cause, plan.run.launcher_log, collateral)
    culprit = _who_it_was(spec, culprit)
    words = next((words for words in _all_words(spec, culprit) if words.lines), _Words([], spec.log))
    cause = "\n".join(map(_shortened, words.with_facts(facts(culprit))))
    others = tuple(name for name in collateral if name != spec.name)
    return Failure(culprit.component, global_rank(spec, culprit.rank), culprit.what, cause, words.log, others)


def global_rank(spec: ProcessSpec | None, local_rank: int | None) -> int | None:
    """The global rank, over all nodes."""
    return local_rank if local_rank is None or spec is None or spec.ranks is None else spec.ranks.first + local_rank


def _shortened(line: str) -> str:
    more = len(line) - SHOWN_COLUMNS
    return line if more <= 0 else f"{line[:SHOWN_COLUMNS]}... ({more} more characters)"


# --- who it was -------------------------------------------------------------------------------------------------------


def _who_it_was(spec: ProcessSpec, culprit: Culprit) -> Culprit:
    """Under torchrun, the rank that failed first."""
    if spec.ranks is None:
        return culprit
    culprit = culprit if culprit.rank is not None else _torchruns_own_account(spec, culprit)
    culprit = _who_raised_first(spec.ranks, culprit)
    return culprit if culprit.rank is not None else replace(culprit, rank=first_to_fail(spec.ranks))


def _torchruns_own_account(spec: ProcessSpec, culprit: Culprit) -> Culprit:
    """torchrun's own account, for when torchrun ended before we saw a rank end."""
    ended_by_itself = culprit.exit_code is not None
    got = signal_to_torchrun(spec) if ended_by_itself else None
    return torchrun_blames(spec) or (replace(culprit, what=received_text(got)) if got else culprit)


def _who_raised_first(ranks: Ranks, culprit: Culprit) -> Culprit:
    """Another rank, if it raised at least a second before the rank that ended first.

    After an error a rank may exit slowly, while a peer that lost its connection exits at once.
    """
    times, first = times_of_errors(ranks), first_to_fail(ranks)
    if culprit.rank not in times or first is None or not 0 < times[first] < times[culprit.rank]:
        return culprit
    ahead = times[culprit.rank] - times[first]
    what = f"raised an exception, {ahead} s before rank {ranks.first + culprit.rank} did"
    return replace(culprit, rank=first, what=what, exit_code=None)


# --- its words --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Words:
    lines: list[str]
    log: Path  # the file to open
    is_traceback: bool = False

    def with_facts(self, facts: list[str]) -> list[str]:
        """An exception's own line comes before the facts. Last lines without a traceback come after them."""
        if not facts or not self.lines:
            return facts or self.lines
        if self.is_traceback:
            return [self.lines[0], *facts, *self.lines[1:]]
        return [*facts, "its last lines:", *(f"  {line}" for line in self.lines)]


def _all_words(spec: ProcessSpec, culprit: Culprit) -> Iterator[_Words]:
    """The texts that may explain the end, the best first. Some are empty."""
    most = LAST_LINES_OF_KILLED if culprit.exit_code == -signal.SIGKILL else LAST_LINES
    if spec.ranks is not None and culprit.rank is not None:
        for directory in rank_directories(spec.ranks, culprit.rank):
            yield from _words_of_rank(directory, most)
        yield from (_last_words(log, most) for log in spec.rank_logs[culprit.rank : culprit.rank + 1])
    yield _last_words(spec.log, most)


def _words_of_rank(directory: Path, most: int) -> Iterator[_Words]:
    files = [directory / "stderr.log", directory / "stdout.log"]
    recorded = recorded_error(directory)
    if recorded:
        yield replace(_words_in(recorded, most), log=next(filter(_has_text, files), files[0]))
    found = [_last_words(file, most) for file in files]
    yield from (words for words in found if words.is_traceback)
    yield from found if most > LAST_LINES_OF_KILLED else sorted(found, key=_age)


def _words_in(text: str, most: int) -> _Words:
    traceback = find_traceback(text)
    lines = condensed(traceback) if traceback else [line for line in text.splitlines() if line.strip()][-most:]
    return _Words(lines, Path(), bool(traceback))


def _last_words(log: Path, most: int) -> _Words:
    text = clean(tail(log))
    if points_above(find_traceback(text)):  # a server whose engine is dead repeats it for every request
        text = clean(tail(log, FAR))
    return replace(_words_in(text, most), log=log)


def last_words(log: Path) -> str:
    """The last traceback in a log, or else its last lines. Empty for an empty log."""
    return "\n".join(_last_words(log, LAST_LINES).lines)


def _has_text(file: Path) -> bool:
    return bool(tail(file).strip())


def _age(words: _Words) -> float:
    """Sorts the most recently written file first."""
    try:
        return -words.log.stat().st_mtime
    except OSError:
        return 0.0
