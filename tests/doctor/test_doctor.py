"""What doctor says of machines that lack something."""

import os
import resource
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import pytest

from launcher.doctor import machine_checks, software_checks
from launcher.doctor.check import Check, ask
from launcher.doctor.doctor import examine
from launcher.machine.gpus import GpuProcess

GIB = 1 << 30


def only(found: Iterator[Check]) -> Check:
    (check,) = found
    return check


def disk_usage(total: float, free: float) -> Callable[[Path], SimpleNamespace]:
    """In GiB, instead of shutil's."""
    return lambda directory: SimpleNamespace(total=int(total * GIB), free=int(free * GIB))


def test_this_machine_can_start_a_run() -> None:
    checks = examine()
    assert [check for check in checks if check.state == "fail"] == []
    assert {check.group for check in checks} == {"rl, sft", "rl", "W&B", "Slurm", "detach", "stacks"}


def test_everything_that_is_not_well_says_what_mends_it_or_why_nothing_does() -> None:
    assert [check for check in examine() if check.state == "warn" and not check.fix] == []


def test_a_python_without_torch_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software_checks, "_TORCH", "import no_such_torch")
    check = only(software_checks.check_torch())
    assert (check.state, check.found) == ("fail", "ModuleNotFoundError: No module named 'no_such_torch'")
    assert check.fix == shlex.join([sys.executable, "-m", "pip", "install", "torch"])


def test_a_torch_in_the_working_directory_which_may_be_a_strangers_is_not_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "planted.py").write_text("open('executed', 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(software_checks, "_TORCH", "import planted")
    assert only(software_checks.check_torch()).found == "ModuleNotFoundError: No module named 'planted'"
    assert not (tmp_path / "executed").exists()


def test_a_torch_that_never_finishes_its_import_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software_checks, "_TORCH", "import signal; signal.pause()")
    monkeypatch.setattr(software_checks, "TORCH_SECONDS", 0.2)
    check = only(software_checks.check_torch())
    assert (check.state, check.found.endswith("; the import takes more than 0.2s")) == ("ok", True)
    monkeypatch.setattr(software_checks, "distribution", _no_distribution)
    check = only(software_checks.check_torch())
    assert (check.state, check.found) == ("fail", "the import takes more than 0.2s")
    assert check.fix.endswith('-P -c "import torch"')


def _no_distribution(name: str) -> None:
    raise PackageNotFoundError(name)


@pytest.mark.parametrize(
    ("cuda", "state", "found"),
    [("'13.0'", "ok", "2.13.0, built for CUDA 13.0"), ("None", "warn", "2.13.0 is built for the CPU only")],
)
def test_of_a_slow_torch_the_files_say_what_it_is_built_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cuda: str, state: str, found: str
) -> None:
    version = tmp_path / "version.py"
    version.write_text(
        f"__version__ = '2.13.0'\ndebug = False\ncuda: Optional[str] = {cuda}\nhip: Optional[str] = None\n"
    )
    monkeypatch.setattr(software_checks, "_TORCH", "import signal; signal.pause()")
    monkeypatch.setattr(software_checks, "TORCH_SECONDS", 0.1)
    monkeypatch.setattr(software_checks, "gpu_count", lambda: 8)
    monkeypatch.setattr(software_checks, "distribution", lambda name: SimpleNamespace(locate_file=lambda _: version))
    check = only(software_checks.check_torch())
    assert check.state == state and check.found.startswith(found)


def test_the_files_of_torch_say_what_torch_says() -> None:
    import torch

    assert software_checks.installed_torch() == (torch.__version__, torch.version.cuda)


def test_no_import_of_torch_makes_doctor_take_more_than_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software_checks, "_TORCH", "import signal; signal.pause()")
    assert software_checks.TORCH_SECONDS <= 1.5
    begun = time.monotonic()
    examine()
    assert time.monotonic() - begun < 30  # not for ever; this machine may be busy


@pytest.mark.parametrize(
    ("printed", "found"),
    [
        ('["2.13.0+cpu", null, false]', "2.13.0+cpu is built for the CPU only"),
        ('["2.13.0", "13.0", false]', "2.13.0 sees no GPU, though there are some"),
    ],
)
def test_a_torch_that_does_not_see_the_gpus_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, printed: str, found: str
) -> None:
    monkeypatch.setattr(software_checks, "_TORCH", f"print({printed!r})")
    monkeypatch.setattr(software_checks, "gpu_count", lambda: 8)
    check = only(software_checks.check_torch())
    assert (check.state, check.found) == ("warn", found)


def test_a_package_that_is_not_installed_fails_since_torchrun_cannot_find_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software_checks, "entry_points", lambda group: SimpleNamespace(names=set()))
    assert only(software_checks.check_installation()).state == "fail"


def test_variables_of_another_launcher_are_named_and_none_are_no_news(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"PATH": "/bin"})
    assert list(software_checks.check_environment()) == []
    monkeypatch.setattr(os, "environ", {"RANK": "0", "PET_TEE": "3"})
    assert only(software_checks.check_environment()).fix == "unset PET_TEE RANK"


def test_nobody_logged_in_to_wandb_is_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert only(software_checks.check_wandb()).fix == "wandb login"
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    check = only(software_checks.check_wandb())
    assert check.state == "ok"
    assert "secret" not in repr(check)


def test_slurm_that_does_not_answer_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda program: f"/usr/bin/{program}")
    monkeypatch.setattr(software_checks, "ask", lambda *command: "Slurmctld(primary) at n1 is DOWN")
    assert only(software_checks.check_slurm()).state == "warn"


def test_ptrace_scope_is_a_warning_unless_one_is_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software_checks, "ptrace_scope", lambda: 1)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert only(software_checks.check_pyspy()).fix == "sudo sysctl kernel.yama.ptrace_scope=0"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert only(software_checks.check_pyspy()).state == "ok"


def test_processes_that_hold_a_gpu_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_checks, "gpu_processes", lambda: [GpuProcess(1, os.getpid(), 3 * GIB)])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    gpus, memory = machine_checks.check_gpus()
    assert gpus.found == "2: 0, 1"
    assert memory.state == "warn"
    assert f"(pid {os.getpid()}, " in memory.found
    assert memory.found.endswith("3.0 GiB")
    assert memory.fix == f"if they are leftovers: kill {os.getpid()}"


def test_the_shared_memory_of_a_container_is_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", disk_usage(total=1 / 16, free=1 / 16))
    check = only(machine_checks.check_shared_memory())
    assert check.state == "warn"
    assert "--shm-size 8g" in check.fix


def test_who_holds_the_shared_memory_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "disk_usage", disk_usage(total=64, free=1))
    code = (
        "import mmap, sys; f = open(sys.argv[1], 'w+b'); f.truncate(9); m = mmap.mmap(f.fileno(), 9); print(); input()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "segment")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        holder.stdout.readline()
        check = only(machine_checks.check_shared_memory(tmp_path))
        holder.communicate(b"\n")
    assert check.state == "warn"
    assert f"(pid {holder.pid}, " in check.fix


def test_a_full_disk_fails_and_little_space_warns(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    states = []
    for free in (0, 1, 100):
        monkeypatch.setattr(shutil, "disk_usage", disk_usage(total=100, free=free))
        states.append(only(machine_checks.check_disk(tmp_path / "outputs")).state)
    assert states == ["fail", "warn", "ok"]


def test_a_directory_that_cannot_be_written_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    check = only(machine_checks.check_disk(tmp_path / "outputs"))
    assert (check.state, check.found) == ("fail", f"{tmp_path} cannot be written")


def test_a_low_limit_of_open_files_is_a_warning_and_a_high_one_no_news(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda limit: (1024, 65536))
    assert only(machine_checks.check_open_files()).fix == "ulimit -n 65536"
    monkeypatch.setattr(resource, "getrlimit", lambda limit: (65536, 65536))
    assert list(machine_checks.check_open_files()) == []


@pytest.mark.parametrize(
    ("kills", "excluded", "state"), [("yes", "root", "warn"), ("yes", "otter", "ok"), ("no", "", "ok")]
)
def test_whether_systemd_ends_a_run_at_logout(
    monkeypatch: pytest.MonkeyPatch, kills: str, excluded: str, state: str
) -> None:
    answers = {"KillUserProcesses": kills, "KillExcludeUsers": excluded}
    monkeypatch.setattr(machine_checks, "ask", lambda *command: answers[command[-2]])
    monkeypatch.setattr(machine_checks, "has_systemd", lambda: True)
    monkeypatch.setattr(machine_checks, "user_name", lambda: "otter")
    assert only(machine_checks.check_logout()).state == state


def test_a_program_that_is_not_there_or_hangs_or_fails_has_no_answer() -> None:
    assert ask("no-such-program") is None
    assert ask("sleep", "1000", seconds=0.1) is None
    assert ask("false") is None
    assert ask("echo", "yes") == "yes"
