"""Checks of the machine: kernel, GPUs, memory, disk, limits, and whether a logout ends processes."""

import os
import platform
import resource
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil

from launcher.doctor.check import Check, ask
from launcher.home import user_name
from launcher.machine.gpus import gpu_processes
from launcher.machine.probe import visible_gpus
from launcher.numbers import plural

GIB = 1 << 30
SHARED_MEMORY = GIB  # data loaders and NCCL take some hundred MB each; containers give 64 MB
DISK = 10 * GIB  # logs and two checkpoints of a small model
OPEN_FILES = 4096
SHOWN = 3  # processes named at most


def check_platform() -> Iterator[Check]:
    version = platform.python_version()
    if sys.platform != "linux":
        yield Check("rl, sft", "platform", "fail", f"{sys.platform}: launch needs Linux")
        return
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        found = f"Linux {platform.release()} has no pidfd_open, or a container forbids it"
        yield Check("rl, sft", "platform", "fail", found, "launch needs Linux 5.3 or newer")
        return
    cpus = plural(len(os.sched_getaffinity(0)), "CPU")
    yield Check("rl, sft", "platform", "ok", f"Python {version}, Linux {platform.release()}, {cpus}")


def check_gpus() -> Iterator[Check]:
    gpus = visible_gpus(os.environ)
    if gpus:
        yield Check("rl, sft", "GPUs", "ok", f"{len(gpus)}: {', '.join(gpus)}")
    else:
        yield Check("rl, sft", "GPUs", "ok", "none: ranks compute on the CPU")
    held = gpu_processes()
    if held:
        names = [f"GPU {each.gpu}: {_named(each.pid)}, {each.memory / GIB:.1f} GiB" for each in held]
        pids = dict.fromkeys(str(each.pid) for each in held)
        yield Check("rl, sft", "GPU memory", "warn", "; ".join(names), f"if they are leftovers: kill {' '.join(pids)}")


def check_shared_memory(directory: Path = Path("/dev/shm")) -> Iterator[Check]:
    try:
        usage = shutil.disk_usage(directory)
    except OSError as error:
        yield Check(
            "rl, sft", "shared memory", "warn", f"{directory}: {error.strerror}", f"mount -t tmpfs shm {directory}"
        )
        return
    found = f"{usage.free / GIB:.1f} of {usage.total / GIB:.1f} GiB free"
    if usage.total < SHARED_MEMORY:
        fix = f"docker run --shm-size 8g, or: mount -o remount,size=8g {directory}"
        yield Check("rl, sft", "shared memory", "warn", f"{found}: data loaders may die of SIGBUS", fix)
    elif usage.free < usage.total / 2:
        yield Check("rl, sft", "shared memory", "warn", found, _how_to_free(directory))
    else:
        yield Check("rl, sft", "shared memory", "ok", found)


def _how_to_free(directory: Path) -> str:
    holders = Counter(_holders(directory))
    if not holders:
        return f"no process that you can see uses it; look at: ls -lhS {directory}"
    named = ", ".join(_named(pid) for pid, _ in holders.most_common(SHOWN))
    return f"used by {named}"


def _holders(directory: Path) -> Iterator[int]:
    """The pid of each mapping of a file in `directory`."""
    for process in psutil.process_iter():
        try:
            maps = Path(f"/proc/{process.pid}/maps").read_bytes()
        except OSError:
            continue
        yield from [process.pid] * maps.count(b" " + os.fsencode(directory) + b"/")


def _named(pid: int) -> str:
    try:
        process = psutil.Process(pid)
        return f"{process.name()} (pid {pid}, {process.username()})"
    except psutil.Error:
        return f"pid {pid}"


def check_disk(directory: Path = Path("outputs")) -> Iterator[Check]:
    there = next(path for path in (directory.absolute(), *directory.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(there).free
    found = f"{free / GIB:.1f} GiB free at {there}"
    elsewhere = "name another directory with --output-dir"
    if not os.access(there, os.W_OK | os.X_OK):
        yield Check("rl, sft", "disk", "fail", f"{there} cannot be written", elsewhere)
    elif free == 0:
        yield Check("rl, sft", "disk", "fail", found, elsewhere)
    else:
        yield Check("rl, sft", "disk", "ok" if free >= DISK else "warn", found, "" if free >= DISK else elsewhere)


def check_open_files() -> Iterator[Check]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= OPEN_FILES:
        return
    possible = hard if hard != resource.RLIM_INFINITY else 65536
    yield Check("rl, sft", "open files", "warn", f"{soft} at most in a process", f"ulimit -n {possible}")


def check_logout() -> Iterator[Check]:
    """Whether systemd ends a detached run when its user logs out."""
    if not has_systemd():
        yield Check("detach", "logout", "ok", "no systemd here, so a logout ends no run")
        return
    kills = ask("loginctl", "show-session", "-p", "KillUserProcesses", "--value") == "yes"
    excluded = (ask("loginctl", "show-session", "-p", "KillExcludeUsers", "--value") or "").split()
    if kills and user_name() not in excluded:
        fix = "loginctl enable-linger, then: systemd-run --user --scope launch ... --detach"
        yield Check("detach", "logout", "warn", "systemd ends a run at logout (KillUserProcesses)", fix)
    else:
        yield Check("detach", "logout", "ok", "systemd does not end a run at logout")


def has_systemd() -> bool:
    return Path("/run/systemd/system").exists()
