"""Runs in Slurm: combines what run.json and Slurm say about a run, and ends it."""

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

SUBMITTED_WITHIN = 60.0  # seconds that a job waits until its id is in run.json
KILL_WAIT = 120.0  # seconds after the grace that Slurm may take to kill the rest
_ENDINGS: dict[str, TrueState] = {
    "CANCELLED": "cancelled",
    "TIMEOUT": "timed out",
    "DEADLINE": "timed out",
    "PREEMPTED": "preempted",
    "COMPLETED": "died",  # run.json does not know of the end
    "BOOT_FAIL": "failed",
    "FAILED": "failed",
    "NODE_FAIL": "failed",
    "OUT_OF_MEMORY": "failed",
}


@dataclass(frozen=True)
class Known:
    """A run's state in a word, and the reason."""

    word: TrueState
    reason: str | None = None


def ask_for(states: Iterable[RunState]) -> Mapping[str, Job] | None:
    """Slurm's view of the runs' jobs, if it may know more than run.json. One query for all."""
    return ask([state.slurm.job for state in states if state.slurm and state.slurm.job and _may_change(state)])


def _may_change(state: RunState) -> bool:
    """Whether Slurm may know more than run.json: the run was killed, or is requeued. Other states are final."""
    return state.state in GOING_ON or (state.state == "stopped" and state.reason in (TIME_LIMIT, "preempted"))


def known_state(run: RunDir, state: RunState, jobs: Mapping[str, Job] | None) -> Known:
    """The run's state now. `jobs` comes from `ask_for`; with None, only run.json counts."""
    truth = _in_slurms_words(state, true_state(run, state))
    if state.slurm is None or not state.slurm.job or not _may_change(state):
        return Known(truth, _why(state, truth))
    if jobs is None:
        return Known(
            truth, _why(state, truth) or ("Slurm cannot be asked about it from here" if truth == "queued" else None)
        )
    return _combined(state, truth, jobs.get(state.slurm.job))


def _why(state: RunState, truth: TrueState) -> str | None:
    return state.reason if state.reason != truth else None


def _in_slurms_words(state: RunState, truth: TrueState) -> TrueState:
    """If Slurm stopped the job, use the reason that the job recorded itself, such as "preempted"."""
    endings: tuple[TrueState, ...] = ("cancelled", "preempted", "timed out")
    found = next((word for word in endings if word == state.reason), truth)
    return found if truth == "stopped" and state.slurm else truth


def _combined(state: RunState, truth: TrueState, job: Job | None) -> Known:
    if job is None:
        gone = "Slurm no longer knows its job"
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
    """The state with the job's id. Waits for it: a job may start before its submitter has written the id."""
    deadline = time.monotonic() + SUBMITTED_WITHIN
    while own_job() and state.slurm and not state.slurm.job and time.monotonic() < deadline:
        time.sleep(0.05)  # the writer is on another node: no event to wait for
        state = read_state(run) or state
    return state


def settled(run: RunDir, state: RunState) -> RunState:
    """The state, marked as ended if Slurm ended the job in its queue: such a job cannot write its own end."""
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
    """`scancel`, and wait until the job and its processes on this host are gone. Returns the last state.

    Raises UserError if Slurm refuses, or the job outlives the grace and Slurm's own time to kill it.
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
    """Raises UserError if the run is, or may be, still active."""
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
    """Whether Slurm has started our job for the next attempt, so that the earlier attempt has ended."""
    if state.state == "queued":
        return True
    return state.slurm is not None and state.slurm.job == own_job() and state.slurm.restarts < restarts()


def job_of_attempt(earlier: RunState | None) -> SlurmState | None:
    """The job of this attempt. None for a run resumed by hand: its old job no longer counts."""
    job = own_job()
    cluster = earlier.slurm.cluster if earlier and earlier.slurm else None
    return SlurmState(job=job, cluster=cluster, restarts=restarts()) if job else None


def why_stopped(state: RunState) -> str | None:
    """Why Slurm stopped the run's job, if it is in Slurm."""
    return why_terminated(state.slurm.job) if state.slurm else None
