"""Takes the Python stacks of a run's processes: by py-spy, or if ptrace is not allowed from the process itself."""

import os
import shutil
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from launcher.borders.files import reading
from launcher.errors import UserError
from launcher.instrumentation.traceable import STACKS_SIGNAL
from launcher.processes.process_tree import (
    catches,
    children,
    kill_quietly,
    program_name,
    start_time,
    variable,
    zombie_exit_code,
)
from launcher.processes.proof import proves_to_be_of
from launcher.rundir import RunDir
from launcher.runs.liveness import is_alive_here, is_local
from launcher.runs.registry import call_name
from launcher.runs.state import RunState
from launcher.stacks.frames import PythonProcess, Stack, Thread, read_faulthandler, read_pyspy

PYSPY_SECONDS = 10.0  # it takes 10 ms, but longer if it reads symbols from a slow file system
REQUEST_SECONDS = 2.0
SETTLED = 0.05  # seconds in which faulthandler has written nothing more
AT_ONCE = 16  # py-spy processes
REFUSED = "ptrace is not allowed"


def take_stacks(run: RunDir, state: RunState, rank: int | None = None) -> list[Stack]:
    """The present stack of every Python process of the run, or of one rank: components, ranks, and their children.

    Each process is paused for about 10 ms. Several are read at a time. Processes that end meanwhile are skipped.

    Raises:
        UserError: the run is not running, is on another host, or has no such rank.
    """
    _check_is_here(run, state)
    processes = [process for process in python_processes(state) if rank in (None, process.rank)]
    if not processes and rank is not None:
        raise UserError(f"--rank {rank}: {state.name} has no such rank on this host")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        stacks = list(pool.map(partial(_take, run), processes))
    return [stack for stack in stacks if stack.threads or start_time(stack.process.pid)]


def _check_is_here(run: RunDir, state: RunState) -> None:
    typed = call_name(run.root, state.name)
    if not is_local(state):
        raise UserError(f"{state.name} runs on {state.host}", f"type it there: launch stacks {typed}")
    if state.supervisor is None or not is_alive_here(state, state.supervisor):
        raise UserError(f"{state.name} is not running", f"its logs: launch logs {typed}")
    if state.supervisor.pid != os.getpid() and not proves_to_be_of(run, state.supervisor):
        pid = state.supervisor.pid
        raise UserError(
            f"{state.name}: the process that run.json calls its supervisor (pid {pid}) does not hold the run's lock",
            f"if the run is another user's, try as that user or as root; see the process: ps -o pid,user,args -p {pid}",
        )


# --- which processes --------------------------------------------------------------------------------------------------


def python_processes(state: RunState) -> list[PythonProcess]:
    """The Python processes of a run on this host."""
    known = _known(state)
    found: list[PythonProcess] = []
    if state.supervisor is None:
        return found
    for pid in children(state.supervisor.pid):
        found += _with_descendants(known.get(pid) or _orphan(pid), known)
    return [process for process in found if is_python(process.pid)]


def _known(state: RunState) -> dict[int, PythonProcess]:
    known = {}
    for component in state.processes:
        if component.process:
            pid = component.process.pid
            known[pid] = PythonProcess(pid, component.name, has_ranks=bool(component.ranks))
        for rank in component.ranks:
            if rank.process:
                known[rank.process.pid] = PythonProcess(rank.process.pid, component.name, rank.rank)
    return known


def _with_descendants(process: PythonProcess, known: dict[int, PythonProcess]) -> Iterator[PythonProcess]:
    yield process
    for pid in children(process.pid):
        child = PythonProcess(pid, process.component, process.rank, is_child=True)
        yield from _with_descendants(known.get(pid, child), known)


def _orphan(pid: int) -> PythonProcess:
    """A process whose parent has ended. Its environment has its component and rank."""
    rank = variable(pid, "RANK")
    component = variable(pid, "LAUNCH_COMPONENT") or "launch"
    return PythonProcess(pid, component, int(rank) if rank and rank.isdecimal() else None, is_child=True)


def is_python(pid: int) -> bool:
    """Whether Python runs in a process, even if the program has another name."""
    if zombie_exit_code(pid) is not None:
        return False
    return "python" in program_name(pid) or _has_libpython(pid)


def _has_libpython(pid: int) -> bool:
    try:
        return "/libpython3" in Path(f"/proc/{pid}/maps").read_text(errors="replace")
    except OSError:
        return False


# --- its stack --------------------------------------------------------------------------------------------------------


def _take(run: RunDir, process: PythonProcess) -> Stack:
    threads, trouble = _from_outside(process.pid)
    if not threads:
        threads = _from_inside(run, process.pid)
    return Stack(process, threads) if threads else Stack(process, trouble=trouble or "no Python code is running in it")


def _from_outside(pid: int) -> tuple[tuple[Thread, ...], str]:
    """(py-spy's stacks, why there are none). A stopped process cannot be paused, so the second try does not pause."""
    trouble = ""
    for options in ([], ["--nonblocking"]):
        output, trouble = _pyspy("dump", "--json", *options, "--pid", str(pid))
        try:
            return read_pyspy(output, pid), ""
        except ValueError:
            continue
    return (), trouble


def _pyspy(*arguments: str) -> tuple[str, str]:
    """Its output, and its first line of errors. The supervisor may reap py-spy first, so its exit code is not used."""
    try:
        done = subprocess.run(
            [find_pyspy() or "py-spy", *arguments], capture_output=True, text=True, timeout=PYSPY_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", str(error)
    return done.stdout, _first_line(done.stderr)


def find_pyspy() -> str | None:
    """The py-spy that is installed with launch, even if its directory is not on the PATH."""
    return shutil.which("py-spy", path=f"{sysconfig.get_path('scripts')}:{os.environ.get('PATH', os.defpath)}")


def _first_line(complaint: str) -> str:
    line = complaint.strip().partition("\n")[0]
    return REFUSED if line.startswith("Permission Denied") else line.removeprefix("Error: ")


def _from_inside(run: RunDir, pid: int) -> tuple[Thread, ...]:
    """The stacks that the process itself writes on a signal. Empty if it has no handler for the signal."""
    path = run.stacks(pid)
    try:
        start = path.stat().st_size
    except OSError:
        return ()
    if not catches(pid, STACKS_SIGNAL):
        return ()
    kill_quietly(pid, STACKS_SIGNAL)
    return read_faulthandler(_written_after(path, start))


def _written_after(path: Path, start: int) -> str:
    """The text added to a file until it stops growing: faulthandler does not say when it has finished."""
    deadline = time.monotonic() + REQUEST_SECONDS
    size = start
    while time.monotonic() < deadline:
        time.sleep(SETTLED)
        before, size = size, path.stat().st_size
        if size == before > start:
            break
    with reading(path) as file:
        file.seek(start)
        return file.read().decode(errors="replace")
