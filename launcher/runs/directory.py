"""Creates a plan's run directory and locks it while the run lives."""

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from launcher.borders.files import make_directory, open_regular, write_atomically
from launcher.borders.screen import quoted
from launcher.checkpoints import newest_checkpoint
from launcher.errors import NotNow, UserError
from launcher.home import user_name
from launcher.plan.spec import Plan
from launcher.rundir import RunDir
from launcher.runs.elsewhere import put_weights_elsewhere, remove_weights_elsewhere
from launcher.runs.state import read_state
from launcher.runs.survivors import end_survivors, survivors_text
from launcher.runs.trust import check_trusted

SHARED_POLL = 0.2  # seconds between two looks at a directory that nodes share
PRIVATE = 0o600  # arguments and URLs may contain secrets that we cannot recognize


def prepare(
    plan: Plan,
    clean: bool,
    resume: bool = False,
    say: Callable[[str], None] = lambda _: None,
    trust: bool = False,
) -> int:
    """Create the directory with the plan's files. Returns the descriptor of its lock.

    The lock is an flock: every process that inherits the descriptor holds it, and the last one releases it. `clean`
    replaces a run that has ended, `resume` adds an attempt to it. Processes that outlived an earlier attempt are killed
    and reported to `say`.

    Raises UserError if the directory holds a run, cannot be written, or has processes that cannot be killed. Then all
    new files are removed.
    """
    run = plan.run
    with _undone_on_error(run) as undo:
        if not _is_made(run.own):  # another user may have created it first
            check_trusted(run, quoted(str(run.root)), f"{plan.kind} --output-dir {quoted(str(run.root))}", trust)
        lock = take_lock(run)
        undo.directory_is_ours()
        if not resume:
            check_free(run, clean)
        if ended := end_survivors(run):
            say(f"ended first: {survivors_text(ended)}, left over from an earlier launch")
        if not resume:
            _make_room(run, clean)
            os.close(
                open_regular(run.state, os.O_WRONLY | os.O_CREAT)
            )  # first: if we are killed now, --clean still finds a run here
        sign(lock)
        if plan.weights_dir is not None:
            put_weights_elsewhere(run, plan.weights_dir)
        add_attempt(plan)
    return lock


def _is_made(directory: Path) -> bool:
    """Create the directory. False if it was there already. Raises OSError."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    try:
        directory.mkdir()
    except FileExistsError:
        return False
    return True


def add_attempt(plan: Plan) -> None:
    """Create an attempt's log directory and write the plan's files. We must hold the lock. Raises OSError."""
    plan.run.logs.mkdir(parents=True, exist_ok=True)
    for log in plan.run.launcher_log, *(spec.log for spec in plan.processes):
        if os.path.lexists(log):  # refuse a link or FIFO now, not when the component starts
            os.close(open_regular(log, os.O_WRONLY))
    if any("TORCH_FR_DUMP_TEMP_FILE" in spec.env for spec in plan.processes):
        plan.run.flight_recorder.mkdir(exist_ok=True)  # torch does not create it
    if not plan.run.node:  # the link belongs to node 0
        _link(plan.run.latest_logs, plan.run.attempt_logs.name)
    _write_files(plan)


def prepare_by_hand(plan: Plan) -> None:
    """Write only the files, for commands that the user pastes. Replaces no run. Raises UserError like `prepare`."""
    with _undone_on_error(plan.run) as undo:
        check_free(plan.run, clean=False)
        undo.directory_is_ours()
        _write_files(plan)


def _write_files(plan: Plan) -> None:
    """Write the configurations of the run and its components."""
    for path, text in plan.files:
        make_directory(path.parent)
        write_atomically(path, text, PRIVATE)  # another node may be reading it


class _Undo:
    """Remembers what was there before. Removes files only if we had the lock: another run may write there."""

    def __init__(self, run: RunDir) -> None:
        self.run, self.there, self.is_ours = run, set[Path](), False
        self.missing = [path for path in (run.own, *run.own.parents) if not path.exists()]
        self.new = set() if run.lock.exists() else {run.lock}

    def directory_is_ours(self) -> None:
        self.is_ours, self.there = True, self._entries() - self.new

    def undo(self) -> None:
        for path in self._entries() - self.there if self.is_ours else ():
            _remove(path)
        for path in self.missing:
            with contextlib.suppress(OSError):  # not created, or another run started there
                path.rmdir()

    def _entries(self) -> set[Path]:
        try:
            return set(self.run.own.iterdir())
        except OSError:
            return set()


@contextlib.contextmanager
def _undone_on_error(run: RunDir) -> Iterator[_Undo]:
    try:
        undo = _Undo(run)
    except OSError as error:
        raise _unwritable(run, error) from None
    try:
        yield undo
    except BaseException as error:
        undo.undo()
        if isinstance(error, OSError):
            raise _unwritable(run, error) from None
        raise


def _unwritable(run: RunDir, error: OSError) -> UserError:
    whose = ""
    with contextlib.suppress(OSError):
        owner = next(path for path in (run.own, *run.own.parents) if path.exists()).stat().st_uid
        whose = f" ({user_name(owner)}'s)" if owner != os.geteuid() and isinstance(error, PermissionError) else ""
    where = error.filename or run.root
    return UserError(f"{where}: cannot be written: {error.strerror}{whose}", "name another with --output-dir")


def check_free(run: RunDir, clean: bool) -> None:
    """Raises UserError if the directory holds a run that must not be replaced."""
    if run.state.exists() and not clean:
        resume = f"continue it with: launch resume {quoted(str(run.root))}\n  " if _has_a_checkpoint(run) else ""
        raise UserError(
            f"{run.root}: holds a run already", f"{resume}replace it with --clean, or name another with --output-dir"
        )
    occupied = [path for path in _made_by_runs(run) if path.exists() and path not in _written_by_dry_run(run)]
    if occupied and not run.state.exists():
        raise UserError(
            f"{run.root}: {occupied[0].name} is there, but no run.json: this is not a run's directory",
            "name another with --output-dir",
        )


def _has_a_checkpoint(run: RunDir) -> bool:
    """Whether the run may have a checkpoint. For a trainer that is not ours the answer is yes: we cannot tell."""
    state = read_state(run)
    return state is None or not state.own_checkpoints or newest_checkpoint(run) is not None


def _make_room(run: RunDir, clean: bool) -> None:
    if clean and run.state.exists():
        remove_weights_elsewhere(run)
        for path in _made_by_runs(run):
            _remove(path)


def remove_run(run: RunDir, keep: Collection[Path] = ()) -> None:
    """Remove everything that a run creates but `keep`, and its directory if it is then empty. Raises OSError."""
    remove_weights_elsewhere(run)
    for path in (*_made_by_runs(run), run.lock):
        if path not in keep:
            _remove(path)
    with contextlib.suppress(OSError):
        run.root.rmdir()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _made_by_runs(run: RunDir) -> tuple[Path, ...]:
    """run.json comes last, so that an interrupted `--clean` can be repeated."""
    configs = (run.config, run.component_config("any").parent, run.model)
    if run.node:
        return (*configs, *run.all_logs.glob(f"attempt_*/{run.logs.name}"), run.control, run.reserve, run.state)
    made = (*configs, run.all_logs, run.all_metrics, run.checkpoints, run.job_script, run.jobset)
    more = (run.rollouts, run.all_weights, run.checkpoint_request, *run.root.glob(".join-*"))
    return (*made, *more, run.all_samples, run.wandb, run.all_nodes, run.control, run.reserve, run.state)


def _written_by_dry_run(run: RunDir) -> tuple[Path, ...]:
    return (run.config, run.component_config("any").parent)


def take_lock(run: RunDir) -> int:
    """The descriptor of the run's lock, which is released when it is closed. Raises UserError if somebody holds it."""
    descriptor = open_regular(run.lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
        os.close(descriptor)
        raise NotNow(
            f"{run.root}: a run is active there ({holder or 'just started'})",
            f"end it with: launch stop {quoted(str(run.root))}\n  or name another directory with --output-dir",
        ) from None
    if not os.fstat(descriptor).st_nlink:  # `launch clean` has removed it between the two
        os.close(descriptor)
        return take_lock(run)
    return descriptor


def sign(descriptor: int) -> None:
    """Write our pid and host into the lock file."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"pid {os.getpid()} on {os.uname().nodename}\n".encode(), 0)


def _link(link: Path, target: str) -> None:
    """Replace a symbolic link in one step, so that it is never missing."""
    beside = link.with_name(f".{link.name}.{os.getpid()}")
    beside.symlink_to(target)
    try:
        beside.replace(link)
    except OSError:
        beside.unlink()
        raise


def point_latest_at(run: RunDir) -> None:
    """Update `outputs/latest`. An error here never fails a run."""
    with contextlib.suppress(OSError):
        _link(run.root.parent / "latest", run.root.name)


def await_shared(run: RunDir, run_id: str, seconds: float) -> None:
    """Wait for node 0's run.json. Raises UserError if this node has not seen it after so many `seconds`."""
    deadline = time.monotonic() + seconds
    while (state := read_state(run.on(None))) is None or state.run_id != run_id:
        if time.monotonic() > deadline:
            raise NotNow(
                f"{run.root} is not the directory of node 0",
                "rollouts and weights go through files: name a directory that all nodes share with --output-dir",
            )
        time.sleep(SHARED_POLL)


def directory_of(output_dir: Path | None, name: str) -> RunDir:
    """Where a run of this name is, unless its user has named another directory."""
    return RunDir(Path.cwd() / (output_dir or Path("outputs", name)))
