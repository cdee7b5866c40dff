"""Runs that were submitted to Slurm: what run.json and Slurm know of one, together, and how it is ended."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from launcher.errors import UserError
from launcher.rundir import RunDir
from launcher.runs.liveness import GIVEN_UP, GOING_ON, TrueState, is_local, last_seen, living_processes, true_state
from launcher.runs.registry import call_name
from launcher.runs.state import RunState, SlurmState, read_state
from launcher.runs.state_file import TIME_LIMIT, StateFile
from launcher.runs.stop import stop as stop_processes
from launcher.slurm.client import WAITING, Job, ask, cancel, own_job, restarts, why_terminated

SUBMITTED_WITHIN = 60.0  # seconds that a job waits for those who have submitted it to write down its id
KILL_WAIT = 120.0  # seconds beyond the grace that Slurm may take to kill what is left
_ENDINGS: dict[str, TrueState] = {
    "CANCELLED": "cancelled",
    "TIMEOUT": "timed out",
    "DEADLINE": "timed out",
    "PREEMPTED": "preempted",
    "COMPLETED": "died",  # without a word in run.json
    "BOOT_FAIL": "failed",
    "FAILED": "failed",
    "NODE_FAIL": "failed",
    "OUT_OF_MEMORY": "failed",
}


@dataclass(frozen=True)
class Known:
    """A run's state in a word, and why it is that."""

    word: TrueState
    reason: str | None = None


def ask_for(states: Iterable[RunState]) -> Mapping[str, Job] | None:
    """What Slurm says of the jobs that could still be its own: asked once for all of them."""
    return ask([state.slurm.job for state in states if state.slurm and state.slurm.job and _may_change(state)])


def _may_change(state: RunState) -> bool:
    """Whether Slurm could know more than run.json: that it was killed, or waits to go on. The rest stays as it is."""
    return state.state in GOING_ON or (state.state == "stopped" and state.reason in (TIME_LIMIT, "preempted"))


def known_state(run: RunDir, state: RunState, jobs: Mapping[str, Job] | None) -> Known:
    """What is true of the run now. `jobs` is what `ask_for` found; with None run.json alone is believed."""
    truth = _in_slurms_words(state, true_state(run, state))
    if state.slurm is None or not state.slurm.job or not _may_change(state):
        return Known(truth, _why(state, truth))
    if jobs is None:
        return Known(
            truth, _why(state, truth) or ("Slurm cannot be asked for it from here" if truth == "queued" else None)
        )
    return _combined(state, truth, jobs.get(state.slurm.job))


def _why(state: RunState, truth: TrueState) -> str | None:
    return state.reason if state.reason != truth else None


def _in_slurms_words(state: RunState, truth: TrueState) -> TrueState:
    """A job that Slurm has ended found out itself what for."""
    endings: tuple[TrueState, ...] = ("cancelled", "preempted", "timed out")
    found = next((word for word in endings if word == state.reason), truth)
    return found if truth == "stopped" and state.slurm else truth


def _combined(state: RunState, truth: TrueState, job: Job | None) -> Known:
    if job is None:
        gone = "Slurm does not know its job any more"
        return Known("died", gone) if truth == "queued" else Known(truth, _why(state, truth))
    if job.state in WAITING:
        before = f"; {state.reason} in attempt {state.attempt}" if state.reason and state.state != "queued" else ""
        return Known("queued", (job.reason or job.state) + before)
    if job.is_living:
        return Known("starting" if truth == "queued" else truth, state.reason)
    if truth == "stopped" and (state.reason == TIME_LIMIT or job.state not in ("PREEMPTED", "CANCELLED", "TIMEOUT")):
        return Known(truth, _why(state, truth))
    if truth in ("finished", "failed", "preempted"):
        return Known(truth, _why(state, truth))
    return Known(_ENDINGS.get(job.state, "died"), f"Slurm: {job.state}")


def submitted(run: RunDir, state: RunState) -> RunState:
    """The state once the job's id is in it: a job may start before those who submit it have written that down."""
    deadline = time.monotonic() + SUBMITTED_WITHIN
    while own_job() and state.slurm and not state.slurm.job and time.monotonic() < deadline:
        time.sleep(0.05)  # on another node nothing announces it
        state = read_state(run) or state
    return state


def settled(run: RunDir, state: RunState) -> RunState:
    """The state with the end of a job that Slurm has ended in its queue: nothing of it has run that could write it."""
    if state.state != "queued" or own_job():
        return state
    known = known_state(run, state, ask_for([state]))
    return state if known.word in GOING_ON else _end_in_queue(run, state, known.word)


def _end_in_queue(run: RunDir, state: RunState, reason: str) -> RunState:
    state.reason = reason
    file = StateFile(run, state)
    file.end("stopped", 143, None)
    return file.state


def stop_job(run: RunDir, state: RunState, grace: float | None, now: bool) -> RunState:
    """`scancel`, and wait until the job and, where they can be seen, its processes are gone. Returns the last state.

    Raises UserError when Slurm does not let us, or something is left after the grace and Slurm's own.
    """
    assert state.slurm is not None
    seconds = (state.grace if grace is None else grace) + KILL_WAIT
    if state.slurm.job and not cancel(state.slurm.job, run, state.name, seconds, now):
        raise UserError(
            f"job {state.slurm.job} is still there after {seconds:.0f}s", f"look at: squeue -j {state.slurm.job}"
        )
    after = read_state(run) or state
    if is_local(after) and living_processes(after):
        return stop_processes(run, grace, now)
    return _end_in_queue(run, after, "cancelled") if after.state == "queued" else after


def check_ended(run: RunDir, state: RunState) -> None:
    """Raises UserError when the run is still going on, or may be."""
    if own_job() and _is_next_in_its_job(state):
        return
    now = true_state(run, state)
    if now == "silent" and last_seen(run) > GIVEN_UP:
        return
    if now in (*GOING_ON, "silent"):
        where = "" if is_local(state) else f" on {state.host}, last seen {last_seen(run):.0f}s ago"
        raise UserError(
            f"{state.name} is {now}{where}", f"end it first with: launch stop {call_name(run.root, state.name)}"
        )


def _is_next_in_its_job(state: RunState) -> bool:
    """Whether Slurm has started this job for the next attempt: what it ran before has ended then."""
    if state.state == "queued":
        return True
    return state.slurm is not None and state.slurm.job == own_job() and state.slurm.restarts < restarts()


def job_of_attempt(earlier: RunState | None) -> SlurmState | None:
    """The job that makes this attempt; a run that is continued by hand is not its old job's any more."""
    job = own_job()
    cluster = earlier.slurm.cluster if earlier and earlier.slurm else None
    return SlurmState(job=job, cluster=cluster, restarts=restarts()) if job else None


def why_stopped(state: RunState) -> str | None:
    """What Slurm has stopped its job for, if it has."""
    return why_terminated(state.slurm.job) if state.slurm else None
