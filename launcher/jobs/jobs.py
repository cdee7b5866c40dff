"""Runs in a scheduler's hands: combines what run.json and the scheduler say about a run, and ends it."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from launcher.borders.screen import quoted
from launcher.errors import UserError
from launcher.jobs.scheduler import Job, Jobs
from launcher.jobs.schedulers import SCHEDULERS, own_job, own_scheduler, scheduler_of
from launcher.rundir import RunDir
from launcher.runs.liveness import (
    GIVEN_UP,
    GOING_ON,
    SILENCE,
    TrueState,
    is_local,
    last_seen,
    living_processes,
    true_state,
)
from launcher.runs.registry import call_name
from launcher.runs.state import JobState, RunState, read_state
from launcher.runs.state_file import TIME_LIMIT, StateFile
from launcher.runs.stop import stop as stop_processes

SUBMITTED_WITHIN = 60.0  # seconds that a job waits until its id is in run.json
KILL_WAIT = 120.0  # seconds after the grace that the scheduler may take to kill the rest


@dataclass(frozen=True)
class Known:
    """A run's state in a word, and the reason."""

    word: TrueState
    reason: str | None = None


def ask_for(states: Iterable[RunState]) -> Jobs:
    """The schedulers' view of the runs' jobs, if they may know more than run.json. One query for all."""
    asked = [state for state in states if state.job and state.job.job and _may_change(state)]
    found: dict[str, Job | str] = {}
    for scheduler in SCHEDULERS:
        if jobs := [state.job for state in asked if state.job and scheduler.has(state)]:
            found |= scheduler.ask(jobs)
    return found


def _may_change(state: RunState) -> bool:
    """Whether its scheduler may know more than run.json: the run was killed, or starts anew. Other states are final."""
    scheduler = scheduler_of(state)
    return state.state in GOING_ON or (scheduler is not None and scheduler.may_restart(state))


def known_state(run: RunDir, state: RunState, jobs: Jobs | None) -> Known:
    """The run's state now. `jobs` comes from `ask_for`; with None, only run.json counts."""
    truth, scheduler = _in_schedulers_words(state, true_state(run, state)), scheduler_of(state)
    if scheduler is None or not state.job or not state.job.job or not _may_change(state):
        return Known(truth, _why(state, truth))
    job = jobs.get(state.job.job) if jobs is not None else ""
    if isinstance(job, str):
        why = f"{scheduler.name} cannot be asked about it from here" + (f": {job}" if job else "")
        return Known(truth, _why(state, truth) or (why if truth == "queued" else None))
    return _combined(state, truth, job, scheduler.name)


def _why(state: RunState, truth: TrueState) -> str | None:
    return state.reason if state.reason != truth else None


def _in_schedulers_words(state: RunState, truth: TrueState) -> TrueState:
    """If its scheduler stopped the job, use the reason that the job recorded itself, such as "preempted"."""
    endings: tuple[TrueState, ...] = ("cancelled", "preempted", "timed out")
    found = next((word for word in endings if word == state.reason), truth)
    return found if truth == "stopped" and state.job else truth


def _combined(state: RunState, truth: TrueState, job: Job | None, scheduler: str) -> Known:
    if job is None:
        gone = f"{scheduler} no longer knows its job"
        return Known("died", gone) if truth == "queued" else Known(truth, _why(state, truth))
    if job.is_waiting:
        ended = state.reason or (state.state if state.state not in GOING_ON else None)
        before = f"; {ended} in attempt {state.attempt}" if ended and state.state != "queued" else ""
        return Known("queued", (job.reason or job.state) + before)
    if job.is_living:
        return Known("starting", job.reason) if truth == "queued" else Known(truth, state.reason)
    if truth == "stopped" and (state.reason == TIME_LIMIT or not job.was_interrupted):
        return Known(truth, _why(state, truth))
    if truth in ("finished", "failed", "preempted"):
        return Known(truth, _why(state, truth))
    return Known(job.ending, f"{scheduler}: {job.state}" + (f", {job.reason}" if job.reason else ""))


def submitted(run: RunDir, state: RunState) -> RunState:
    """The state with the job's id. Waits for it: a job may start before its submitter has written the id."""
    deadline = time.monotonic() + SUBMITTED_WITHIN
    while own_job() and state.job and not state.job.job and time.monotonic() < deadline:
        time.sleep(0.05)  # the writer is on another node: no event to wait for
        state = read_state(run) or state
    return state


def settled(run: RunDir, state: RunState) -> RunState:
    """The state, marked as ended if its scheduler ended the job in its queue: such a job cannot write its own end."""
    if state.state != "queued" or own_job():
        return state
    known = known_state(run, state, ask_for([state]))
    return state if known.word in GOING_ON else _end_unseen(run, state, known.word)


def _end_unseen(run: RunDir, state: RunState, reason: str) -> RunState:
    state.reason = reason
    file = StateFile(run, state)
    file.end("stopped", 143, None)
    return file.state


@dataclass(frozen=True)
class Stopped:
    """A run whose job was cancelled."""

    state: RunState  # its last one
    silent: Sequence[str] = ()  # nodes that do not answer the scheduler: what runs there is not known


def longest_stop(state: RunState, grace: float | None) -> float:
    """Seconds within which a job must be gone."""
    return (state.grace if grace is None else grace) + KILL_WAIT


def stop_job(run: RunDir, state: RunState, grace: float | None, now: bool) -> Stopped:
    """Cancel the job, and wait until it and its processes on this host are gone.

    Raises UserError if its scheduler refuses, or the job outlives the grace and the scheduler's own time to kill it, or
    the run is alive elsewhere and the scheduler does not know its job.
    """
    scheduler, job = scheduler_of(state), state.job
    assert scheduler is not None
    assert job is not None
    seconds = longest_stop(state, grace)
    there = scheduler.ask([job]).get(job.job) if job.job else None
    silent = scheduler.cancel(job, run, state.name, seconds, now) if job.job else ()
    if silent is None:
        words, look = scheduler.look_at(job)
        raise UserError(f"{words} is still there after {seconds:.0f}s", f"look at: {look}")
    after = read_state(run) or state
    if is_local(after) and living_processes(after):
        return Stopped(stop_processes(run, grace, now), silent)
    is_found = there is not None and not isinstance(there, str) and there.is_living
    if not is_found:  # nothing was cancelled: it may be another cluster that was asked
        after = _once_silent(run, after, f"and the {scheduler.name} asked from here does not know its job")
    elif silent:
        after = _once_silent(run, after, f"and {scheduler.name} gets no answer from {', '.join(silent)}")
    is_lost = after.state in GOING_ON and not is_local(after)
    return Stopped(_end_unseen(run, after, "cancelled") if after.state == "queued" or is_lost else after, silent)


def _once_silent(run: RunDir, state: RunState, trouble: str) -> RunState:
    """The state when no heartbeat comes from the run's host. Raises UserError if one does."""
    deadline = time.monotonic() + SILENCE + 1
    while state.state != "queued" and true_state(run, state) in GOING_ON and not is_local(state):
        if time.monotonic() > deadline:
            raise UserError(
                f"{state.name} is alive on {state.host}, {trouble}",
                f"type it where the run was submitted, or on {state.host}: launch stop {quoted(str(run.root))}",
            )
        time.sleep(0.2)  # the writer is on another node: no event to wait for
        state = read_state(run) or state
    return state


def check_ended(run: RunDir, state: RunState) -> None:
    """Raises UserError if the run is, or may be, still active, or its job may start it again."""
    if own_job() and _is_next_in_its_job(run, state):
        return
    if not own_job():
        _check_not_restarted(run, state)
    now = true_state(run, state)
    if now == "silent" and last_seen(run) > GIVEN_UP:
        return
    if now in (*GOING_ON, "silent"):
        where = "" if is_local(state) else f" on {state.host}, last seen {last_seen(run):.0f}s ago"
        raise UserError(
            f"{state.name} is {now}{where}", f"end it first with: launch stop {call_name(run.root, state.name)}"
        )


def _check_not_restarted(run: RunDir, state: RunState) -> None:
    """Raises UserError if the run has ended, and its job is still there to start the next attempt."""
    scheduler = scheduler_of(state)
    if scheduler is None or state.job is None or not scheduler.may_restart(state):
        return
    job = ask_for([state]).get(state.job.job)
    if job and not isinstance(job, str) and job.is_living:
        words, look = scheduler.look_at(state.job)
        raise UserError(
            f"{state.name} is {state.reason or state.state}, but {words} may start it again: {job.state}",
            f"end it first with: launch stop {call_name(run.root, state.name)}\n  or look at: {look}",
        )


def _is_next_in_its_job(run: RunDir, state: RunState) -> bool:
    """Whether our job was started for the next attempt, so that the earlier attempt has ended."""
    scheduler = own_scheduler()
    if state.state == "queued" and (state.node or state.job is None or state.job.job in ("", own_job())):
        return True
    if state.state == "queued":  # in another job: was that one submitted again by hand, or is it still there?
        return known_state(run, state, ask_for([state])).word not in GOING_ON
    if scheduler is None or state.job is None:
        return False
    return state.job.job == scheduler.own_job() and state.job.restarts < scheduler.restarts()


def job_of_attempt(earlier: RunState | None) -> JobState | None:
    """The job of this attempt. None for a run resumed by hand: its old job no longer counts."""
    scheduler = own_scheduler()
    return scheduler.job_of_attempt(earlier) if scheduler else None


def why_stopped(state: RunState) -> str | None:
    """Why its scheduler stopped the run's job, if that is known."""
    scheduler = scheduler_of(state)
    return scheduler.why_terminated(state.job) if scheduler and state.job else None
