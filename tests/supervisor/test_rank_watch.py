"""How the ranks below a torchrun ended: real processes, and a parent that waits for them at once."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.plan.spec import ProcessSpec
from launcher.processes.process_tree import reaped_exit_code
from launcher.supervisor import rank_watch as ranks
from launcher.supervisor.rank_watch import RankWatch
from launcher.supervisor.rules.events import Event, RankExited, RanksGone
from tests.plans import component, plan_of, sft
from tests.waiting import PATIENCE, until

PARENT = """
import os, pathlib, subprocess, sys
ranks = []
for number, code in enumerate(sys.argv[2:]):
    wait = "import os, time; \\nwhile not os.path.exists('go'): time.sleep(0.01)\\n"
    ranks.append(subprocess.Popen([sys.executable, "-c", wait + code], env={**os.environ, "LOCAL_RANK": str(number)}))
for rank in ranks:
    rank.wait()
sys.exit(int(sys.argv[1]))
"""
FAILURES = """
Failures:
[1]:
  time      : 2026-01-01
  rank      : 1 (local_rank: 1)
  exitcode  : -15 (pid: 2)
Root Cause (first observed failure):
[0]:
  time      : 2026-01-01
  rank      : 0 (local_rank: 0)
  exitcode  : 1 (pid: 1)
"""


@pytest.fixture
def spec(tmp_path: Path) -> ProcessSpec:
    spec = component(plan_of(sft("--nproc", "2", "--trainer.module", "m"), root=tmp_path), "trainer")
    spec.log.parent.mkdir(parents=True)
    return spec


def make_rank_directories(spec: ProcessSpec) -> None:
    assert spec.ranks
    for rank in range(spec.ranks.count):
        (spec.ranks.directory / "attempt_0" / str(rank)).mkdir(parents=True)


def exits(events: list[Event]) -> dict[int, tuple[int | None, str | None]]:
    return {event.rank: (event.exit_code, event.ended_by) for event in events if isinstance(event, RankExited)}


async def watch(
    spec: ProcessSpec, directory: Path, *codes: str, exit_code: int = 1, hurry: bool = False
) -> list[Event]:
    events: list[Event] = []
    command = [sys.executable, "-c", PARENT, str(exit_code), *codes]
    torchrun = subprocess.Popen(command, cwd=directory)
    watching = RankWatch(spec, torchrun.pid, events.append)
    while len(watching.living) < len(codes):
        await asyncio.sleep(0.01)
    if hurry:
        watching.hurry()
    (directory / "go").touch()
    while torchrun.poll() is None:
        await asyncio.sleep(0.01)
    watching.close(torchrun.returncode)
    return events


CODES = ("raise SystemExit(3)", "os.kill(os.getpid(), 9)")


def test_the_kernel_keeps_the_exit_code_of_what_its_parent_has_waited_for() -> None:
    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"])
    descriptor = os.pidfd_open(process.pid)
    assert process.wait() == 7
    if (found := reaped_exit_code(descriptor)) is None:
        pytest.skip("before Linux 6.15")
    assert found == 7
    os.close(descriptor)


def test_each_rank_is_told_once_with_its_exit_code(spec: ProcessSpec, tmp_path: Path) -> None:
    events = asyncio.run(watch(spec, tmp_path, *CODES))
    assert exits(events) == {0: (3, None), 1: (-9, None)}
    assert sum(isinstance(event, RankExited) for event in events) == 2


def test_what_ends_after_the_run_was_asked_to_was_ended_by_launch(spec: ProcessSpec, tmp_path: Path) -> None:
    events = asyncio.run(watch(spec, tmp_path, *CODES, hurry=True))
    assert exits(events) == {0: (3, "launch"), 1: (-9, "launch")}


def test_a_torchrun_that_lives_on_without_ranks_is_told_of_once_it_was_asked_to_end(
    spec: ProcessSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranks, "TORCHRUN_SECONDS", 0.01)
    events: list[Event] = []

    async def outlive() -> None:
        torchrun = subprocess.Popen(["sleep", "1000"])
        watching = RankWatch(spec, torchrun.pid, events.append)
        await asyncio.sleep(0.05)
        assert events == []
        watching.hurry()
        while not events:
            await asyncio.sleep(0.01)
        torchrun.kill()
        watching.close(torchrun.wait())

    asyncio.run(outlive())
    assert events == [RanksGone(spec.name)]


@pytest.fixture
def old_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchrun was always faster, and the kernel has forgotten."""
    monkeypatch.setattr(ranks, "reaped_exit_code", lambda descriptor: None)
    monkeypatch.setattr(ranks, "zombie_exit_code", lambda pid: None)


@pytest.mark.usefixtures("old_kernel")
def test_on_an_old_kernel_the_ranks_of_a_torchrun_that_exited_0_have_exited_0(
    spec: ProcessSpec, tmp_path: Path
) -> None:
    events = asyncio.run(watch(spec, tmp_path, "pass", "pass", exit_code=0))
    assert exits(events) == {0: (0, None), 1: (0, None)}


@pytest.mark.usefixtures("old_kernel")
def test_on_an_old_kernel_torchruns_own_account_is_taken_the_first_failure_first(
    spec: ProcessSpec, tmp_path: Path
) -> None:
    spec.log.write_text(FAILURES)
    events = asyncio.run(watch(spec, tmp_path, *CODES))
    assert list(exits(events).items()) == [(0, (1, None)), (1, (-15, None))]


@pytest.mark.usefixtures("old_kernel")
@pytest.mark.parametrize("hurry", [False, True])
def test_on_an_old_kernel_ranks_that_end_just_before_their_torchrun_are_no_orphans(
    spec: ProcessSpec, tmp_path: Path, hurry: bool
) -> None:
    async def end_at_once() -> tuple[dict[int, int], list[Event]]:
        events: list[Event] = []
        torchrun = subprocess.Popen([sys.executable, "-c", PARENT, "1", *CODES], cwd=tmp_path)
        watching = RankWatch(spec, torchrun.pid, events.append)
        async with asyncio.timeout(PATIENCE):
            while len(watching.living) < 2:
                await asyncio.sleep(0.01)
        (tmp_path / "go").touch()
        torchrun.wait(PATIENCE)  # the loop hears of nothing meanwhile
        if hurry:
            watching.hurry()
        return watching.close(1), events

    spec.log.write_text(FAILURES)
    orphans, events = asyncio.run(end_at_once())
    assert orphans == {}
    assert exits(events) == {0: (1, None), 1: (-15, None)}


def test_ranks_that_were_never_seen_are_told_all_the_same(spec: ProcessSpec, tmp_path: Path) -> None:
    make_rank_directories(spec)
    spec.log.write_text(FAILURES[FAILURES.index("Root") :])
    assert exits(asyncio.run(watch(spec, tmp_path))) == {0: (1, None), 1: (None, "torchrun")}


def test_of_ranks_that_torchrun_never_started_nothing_is_told(spec: ProcessSpec, tmp_path: Path) -> None:
    assert asyncio.run(watch(spec, tmp_path)) == []


def test_ranks_that_outlive_their_torchrun_are_named_and_not_told(spec: ProcessSpec, tmp_path: Path) -> None:
    async def kill_torchrun() -> tuple[dict[int, int], list[Event]]:
        events: list[Event] = []
        torchrun = subprocess.Popen([sys.executable, "-c", PARENT, "0", "pass", "pass"], cwd=tmp_path)
        watching = RankWatch(spec, torchrun.pid, events.append)
        while len(watching.living) < 2:
            await asyncio.sleep(0.01)
        torchrun.kill()
        torchrun.wait()
        return watching.close(-9), events

    orphans, events = asyncio.run(kill_torchrun())
    (tmp_path / "go").touch()
    assert sorted(orphans.values()) == [0, 1]
    assert exits(events) == {}
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in orphans))
