"""What the machine knows of a failure."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from launcher.failure.cause import find_cause
from launcher.failure.failure import Culprit
from launcher.failure.oom import MemoryGroup
from launcher.machine import gpus
from launcher.plan.spec import Plan
from launcher.supervisor.listeners import evidence
from launcher.supervisor.listeners.evidence import Witness, full_disk
from launcher.supervisor.rules.events import Exited, Heartbeat, NewAttempt, RankExited, RankStarted, Started
from tests.plans import plan_of, sft

KILLED = Culprit("trainer", "SIGKILL", 0, -signal.SIGKILL)
RAISED = Culprit("trainer", "exit code 1", 0, 1)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    plan = plan_of(sft("--nproc", "2"), root=tmp_path / "run")
    plan.run.logs.mkdir(parents=True)
    return plan


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The memory cgroup of every process, with no kill so far; the machine's count stays as it is."""
    monkeypatch.setattr(MemoryGroup, "of", lambda pid: MemoryGroup(tmp_path))
    monkeypatch.setattr(evidence, "machine_oom_kills", lambda: 7)
    write_kills(tmp_path, 0)
    return tmp_path


def write_kills(group: Path, count: int) -> None:
    (group / "memory.events").write_text(f"oom {count}\noom_kill {count}\n")


def started(plan: Plan) -> Witness:
    witness = Witness(plan)
    witness(Started("trainer", os.getpid()))
    witness(RankStarted("trainer", 0, os.getpid()))
    return witness


def test_a_kill_that_the_kernel_has_counted_is_probably_for_memory(plan: Plan, group: Path) -> None:
    witness = started(plan)
    witness(Heartbeat())
    write_kills(group, 1)
    first, memory, *_ = witness.facts(KILLED)
    assert first == "probably out of memory: the kernel's oom_kill count of its cgroup went from 0 to 1"
    assert re.match(r"resident memory \d+s before its end: ", memory)
    assert memory.endswith(" GB of this machine")


def test_without_evidence_a_kill_is_not_said_to_be_for_memory(plan: Plan, group: Path) -> None:
    write_kills(group, 3)
    assert started(plan).facts(KILLED) == [
        "killed by SIGKILL, which launch did not send; Linux does not record who did",
        "no sign that memory ran out: the kernel's oom_kill count has not changed",
    ]


def test_an_exception_is_told_of_memory_only_when_the_kernel_has_killed_for_it(plan: Plan, group: Path) -> None:
    witness = started(plan)
    assert witness.facts(RAISED) == []
    write_kills(group, 1)
    assert witness.facts(RAISED)[0].startswith("probably out of memory: ")


@pytest.mark.parametrize(("after", "is_said"), [(7, False), (8, True)])
def test_where_no_cgroup_can_be_seen_the_machines_count_is_taken(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, after: int, is_said: bool
) -> None:
    counts = iter([7, after, after])
    monkeypatch.setattr(MemoryGroup, "of", lambda pid: MemoryGroup(None))
    monkeypatch.setattr(evidence, "machine_oom_kills", lambda: next(counts))
    found = started(plan).facts(KILLED)
    assert ("probably out of memory: the kernel's oom_kill count of this machine went from 7 to 8" in found) == is_said


def test_another_attempt_is_judged_by_itself(plan: Plan, group: Path) -> None:
    witness = started(plan)
    write_kills(group, 1)
    witness(NewAttempt(plan))
    witness(RankStarted("trainer", 0, os.getpid()))
    assert witness.facts(RAISED) == []


def test_what_a_killed_rank_did_last_stands_below_what_is_known_of_its_end(plan: Plan, group: Path) -> None:
    ranks = plan.processes[0].ranks
    assert ranks
    stdout = ranks.directory / "attempt_0" / "0" / "stdout.log"
    stdout.parent.mkdir(parents=True)
    stdout.write_text("".join(f"step {number}\n" for number in range(30)))
    (stdout.parent / "stderr.log").touch()
    failure = find_cause(plan, KILLED, facts=started(plan).facts)
    assert failure
    assert failure.log == stdout
    assert failure.cause.splitlines()[2:] == ["its last lines:", *(f"  step {number}" for number in range(25, 30))]


def test_what_is_known_stands_below_the_exceptions_own_line(plan: Plan) -> None:
    text = 'Traceback (most recent call last):\n  File "a.py", line 1, in f\n    f()\nOSError: no room\n'
    plan.processes[0].log.write_text(text)
    failure = find_cause(plan, RAISED, facts=lambda culprit: ["the disk is full"])
    assert failure
    assert failure.cause.splitlines()[:2] == ["OSError: no room", "the disk is full"]


# --- disks ------------------------------------------------------------------------------------------------------------


FULL = os.statvfs_result((4096, 4096, 1000, 15, 15, 100, 50, 50, 0, 255))


def test_a_full_disk_is_said_since_nobody_could_write_it_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert full_disk(tmp_path) == ""
    monkeypatch.setattr(os, "statvfs", lambda path: FULL)
    assert full_disk(tmp_path) == f"the disk of {tmp_path} is full"
    assert full_disk(Path("/dev/shm")) == "/dev/shm is full (4 MB); a container gets more by --shm-size"


def test_a_disk_without_inodes_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = os.statvfs_result((4096, 4096, 1000, 500, 500, 100, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: disk)
    assert full_disk(tmp_path) == f"the disk of {tmp_path} has no inodes left: it holds too many files"


def test_a_disk_that_was_full_when_the_first_process_failed_is_said_though_its_end_has_made_room(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    witness = started(plan)
    with monkeypatch.context() as full:
        full.setattr(os, "statvfs", lambda path: FULL)
        witness(RankExited("trainer", 0, 1))
    witness(Exited("trainer", 1))
    assert f"the disk of {plan.run.root} is full" in witness.facts(RAISED)


# --- GPUs -------------------------------------------------------------------------------------------------------------


class Driver:
    """NVML with one GPU, which has reported these errors; there is no real one in most machines that run this."""

    NVMLError = RuntimeError
    nvmlEventTypeXidCriticalError = 8

    def __init__(self, *xids: int) -> None:
        self.xids: Iterator[int] = iter(xids)
        self.registered: list[tuple[str, int]] = []

    def nvmlEventSetCreate(self) -> str:
        return "events"

    def nvmlDeviceGetCount(self) -> int:
        return 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        return f"gpu {index}"

    def nvmlDeviceRegisterEvents(self, handle: str, kinds: int, events: str) -> None:
        self.registered.append((handle, kinds))

    def nvmlEventSetWait_v2(self, events: str, milliseconds: int) -> Any:
        try:
            return SimpleNamespace(device="gpu 0", eventData=next(self.xids))
        except StopIteration:
            raise self.NVMLError("Timeout") from None

    def nvmlDeviceGetIndex(self, handle: str) -> int:
        return int(handle.removeprefix("gpu "))


def test_the_errors_that_a_gpu_has_reported_are_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(79, 48)
    monkeypatch.setattr(gpus, "_ask_nvml", lambda question, otherwise: question(driver))
    errors = gpus.XidErrors()
    assert driver.registered == [("gpu 0", 8)]
    assert errors.new() == [f"GPU 0 has reported the error Xid {xid}" for xid in (79, 48)]
    assert errors.new() == []


def test_the_errors_of_a_gpu_are_facts_of_their_attempt_however_often_it_is_explained(
    plan: Plan, group: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Driver(79)
    monkeypatch.setattr(gpus, "_ask_nvml", lambda question, otherwise: question(driver))
    witness = started(plan)
    for _ in range(2):
        assert witness.facts(RAISED) == ["GPU 0 has reported the error Xid 79"]
    witness(NewAttempt(plan))
    assert witness.facts(RAISED) == []


def test_without_gpus_there_are_no_errors_of_theirs() -> None:
    if not Path("/proc/driver/nvidia").exists():
        assert gpus.XidErrors().new() == []
