"""Calls Slurm's own tools. A query never raises or hangs: an unknown answer is None."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from launcher.borders.screen import in_one_line
from launcher.borders.values import whole_number
from launcher.errors import UserError
from launcher.plan.rendezvous import Step
from launcher.processes.tool import call
from launcher.rundir import RunDir
from launcher.runs.liveness import TrueState
from launcher.runs.registry import key_of

_MOST_STEPS = 0xFFFFFFF0  # larger ones are a batch script, an interactive shell
PATIENCE = 5.0  # seconds that `launch status` waits for a slow controller
SUBMISSION = 120.0  # seconds, the limit for sbatch
_OVERRIDING = frozenset({"SBATCH_JOB_NAME", "SBATCH_COMMENT"})  # variables that override the script's directives
WAITING = frozenset({"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT"})
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
LIVING = WAITING | {
    "CONFIGURING",
    "RUNNING",
    "COMPLETING",
    "STAGE_OUT",
    "SUSPENDED",
    "STOPPED",
    "SIGNALING",
    "RESIZING",
}


@dataclass(frozen=True)
class Job:
    """Slurm's view of a job: its state in Slurm's words, and why it waits or how it ended."""

    state: str
    reason: str | None = None

    @property
    def is_waiting(self) -> bool:
        return self.state in WAITING

    @property
    def is_living(self) -> bool:
        return self.state in LIVING

    @property
    def was_interrupted(self) -> bool:
        return self.state in ("PREEMPTED", "CANCELLED", "TIMEOUT")

    @property
    def ending(self) -> TrueState:
        return _ENDINGS.get(self.state, "died")


def own_job() -> str | None:
    """The job whose script started this process. None in an interactive allocation."""
    job = os.environ.get("SLURM_JOB_ID")
    return job if job == os.environ.get("LAUNCH_SLURM_JOB") else None


def own_step() -> Step | None:
    """The job step that `srun` started this process in. None elsewhere, in the job's own script too."""
    number = whole_number(os.environ.get("SLURM_STEP_ID", ""), _MOST_STEPS)
    names = ("SLURM_NODEID", "SLURM_STEP_NUM_NODES", "SLURM_STEP_NUM_TASKS")
    node, nodes, tasks = (whole_number(os.environ.get(name, "")) for name in names)
    if number is None or node is None or nodes is None or tasks is None:
        return None
    return Step(node, nodes, tasks)


def restarts() -> int:
    """How often Slurm has requeued our own job."""
    return whole_number(os.environ.get("SLURM_RESTART_COUNT", "")) or 0


def check_installed() -> None:
    """Raises UserError if there is no sbatch."""
    if not shutil.which("sbatch"):
        raise UserError(
            "--slurm: there is no Slurm on this machine (no sbatch on the PATH)",
            "type this on the cluster's login node; --slurm --dry-run prints the script here, too",
        )


def check_setup(lines: Sequence[str]) -> None:
    """Raises UserError for lines that bash cannot read. Nothing of them is executed."""
    # with the patterns that `shopt -s extglob` allows: it would have to be executed to take effect
    done = call(["bash", "-O", "extglob", "-n", "-c", "\n".join(lines)], PATIENCE)
    if done is not None and done.returncode:
        why = (done.stderr.strip() or "a syntax error").splitlines()[0].removeprefix("bash: -c: ")
        raise UserError(f"--slurm.setup: bash cannot read it: {in_one_line(why)}", "write it as in a script of bash")


def submit(script: str) -> tuple[str, str | None]:
    """Submit the script. Returns (job id, cluster). Raises UserError with sbatch's own message."""
    environment = {name: value for name, value in os.environ.items() if name not in _OVERRIDING}
    try:
        done = subprocess.run(
            ["sbatch", "--parsable", script],
            env=environment,
            capture_output=True,
            text=True,
            timeout=SUBMISSION,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"sbatch: {error}") from None
    if done.returncode != 0:
        words = done.stderr.strip().replace("sbatch: error: ", "") or f"exit code {done.returncode}"
        raise UserError(f"sbatch has refused the job: {words}", "nothing was submitted")
    job, _, cluster = done.stdout.strip().rpartition("\n")[2].partition(";")
    if not re.fullmatch("[0-9]{1,18}", job):
        raise UserError("sbatch has given no job id, so launch cannot find the job", "look at: squeue --me")
    return job, cluster or None


def ask(ids: Iterable[str], cluster: str | None = None) -> Mapping[str, Job] | None:
    """Slurm's view of the jobs, by id, without jobs that it has forgotten. None if Slurm does not answer."""
    wanted = sorted(set(ids))
    if not wanted or not shutil.which("squeue"):
        return None if wanted else {}
    asked, on = f"--jobs={','.join(wanted)}", _on(cluster)
    text = _output("squeue", "--noheader", "--states=all", asked, "--format=%i|%T|%r", *on)
    found = _table(text)
    missing = [job for job in wanted if job not in found]
    if missing and shutil.which("sacct"):
        asked = f"--jobs={','.join(missing)}"
        found |= _table(_output("sacct", "-n", "-X", "-P", asked, "--format=JobID,State,Reason", *on))
    return None if text is None and not found else found


def _on(cluster: str | None) -> list[str]:
    """The option for a job of another cluster. sbatch names the cluster only if the job may be on another one."""
    return [f"--clusters={cluster}"] if cluster else []


def _table(text: str | None) -> dict[str, Job]:
    rows = [line.split("|") for line in (text or "").splitlines() if line.count("|") == 2]
    words = {job: (state.split()[0] if state else "UNKNOWN", reason) for job, state, reason in rows}
    return {job: Job(state, reason if reason not in ("", "None") else None) for job, (state, reason) in words.items()}


def _output(*argv: str, patience: float = PATIENCE) -> str | None:
    """The tool's output. None if it fails or is too slow. Empty for a job that Slurm does not know (any more)."""
    done = call(argv, patience)
    if done is None:
        return None
    if done.returncode == 0:
        return done.stdout
    return "" if "nvalid job id" in done.stderr and "," not in "".join(argv[1:4]) else None


def why_terminated(job: str) -> str:
    """Why Slurm has sent SIGTERM to our own job: "preempted", "timed out" or "cancelled"."""
    text = _output("scontrol", "show", "job", "--oneliner", job) or ""
    preempted = "JobState=PREEMPTED" in text or ("PreemptTime=" in text and "PreemptTime=None" not in text)
    if "JobState=TIMEOUT" in text:
        return "timed out"
    return "preempted" if preempted else "cancelled"


def comment_of(run: RunDir) -> str:
    """The comment of the run's jobs. It proves that a job is the run's."""
    return f"launch:{key_of(run.root.resolve())}"


def cancel(job: str, cluster: str | None, run: RunDir, name: str, seconds: float, now: bool) -> Sequence[str] | None:
    """Cancel the run's job and wait until it is gone, at most `seconds`. None if it is not.

    Does not wait for nodes that do not answer Slurm: it keeps the job for them, usually for minutes. Returns these.

    Raises UserError if the job is not the run's, or Slurm refuses or does not answer.
    """
    typed = " ".join(["scancel", *_on(cluster), job])
    found = ask([job], cluster)
    if found is None:
        raise UserError("Slurm cannot be asked for its jobs from here", f"on the login node, type: {typed}")
    if job not in found or not found[job].is_living:
        return ()
    _check_own(job, cluster, run, name)
    if now:
        _output("scancel", "--full", "--signal=KILL", *_on(cluster), job)
    if _output("scancel", *_on(cluster), job, patience=SUBMISSION) is None:
        raise UserError(f"{typed} has failed", f"look at: scontrol show job {job}")
    return _end(job, cluster, seconds)


def _check_own(job: str, cluster: str | None, run: RunDir, name: str) -> None:
    """Raises UserError unless the job has the run's name and comment. run.json proves nothing: anybody can write it."""
    text = _output("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%u|%j|%k", *_on(cluster))
    rows = [line.split("|", 2) for line in (text or "").splitlines() if line.count("|") >= 2]  # several for an array
    if not rows:
        raise UserError(f"Slurm does not say whose job {job} is", f"look at: scontrol show job {job}")
    for user, its_name, comment in rows:
        if (its_name, comment) != (name, comment_of(run)):
            raise UserError(
                f"job {job} is not this run's: it is {in_one_line(user)}'s, called {in_one_line(its_name)}, "
                f"with the comment {in_one_line(comment)}",
                f"the run's has the comment {comment_of(run)}\n  to cancel the job anyway, type: scancel {job}",
            )


def _end(job: str, cluster: str | None, seconds: float) -> Sequence[str] | None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = ask([job], cluster)
        if found is not None and (job not in found or not found[job].is_living):
            return ()
        if found and found[job].state == "COMPLETING" and (silent := _silent_nodes(job, cluster)):
            return silent
        time.sleep(0.5)  # Slurm has no event to wait for
    return None


def _silent_nodes(job: str, cluster: str | None) -> Sequence[str]:
    """The nodes on which a job is still ending, if Slurm gets no answer from any of them."""
    on = _on(cluster)
    text = _output("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%N", *on)  # without the others
    left = (text or "").strip().rpartition("\n")[2]  # below the cluster's name, which not every version omits
    if not left:
        return ()
    rows = _output("sinfo", "--noheader", "--all", "--Node", f"--nodes={left}", "--format=%N|%T", *on) or ""
    states = dict(row.strip().split("|") for row in rows.splitlines() if row.count("|") == 1)
    return tuple(states) if all(state.endswith("*") for state in states.values()) else ()
