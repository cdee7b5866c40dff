"""run.json: what is known of a run."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.borders.files import write_atomically
from launcher.failure.verdict import Verdict
from launcher.plan.spec import Plan
from launcher.processes.identity import ProcessId, identify, is_alive
from launcher.rundir import RunDir
from launcher.runs.state import FailureState, RunState, read_state
from launcher.runs.state_file import StateFile, first_state
from launcher.supervisor.listeners.state import StateListener
from launcher.supervisor.rules.actions import Action, Decided, Kill, Stop
from launcher.supervisor.rules.events import Event, Exited, RankExited, RankStarted, Ready, Started
from tests.plans import machine, plan_of, rl, sft
from tests.waiting import until


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return plan_of(rl("--nproc", "2"), machine(gpus=3), root=tmp_path, attempt=2)


@pytest.fixture
def file(plan: Plan) -> StateFile:
    return StateFile(plan.run, first_state(plan, {"argv": ["launch", "rl"]}))


def stored(file: StateFile) -> RunState:
    state = read_state(file.run)
    assert state
    return state


def after(file: StateFile, *events: Event | Action) -> RunState:
    for event in events:
        StateListener(file)(event)
    return stored(file)


def test_the_first_state_names_everything_that_will_be_there(file: StateFile) -> None:
    file.write()
    state = stored(file)
    assert (state.name, state.kind, state.attempt, state.state) == ("otter", "rl", 2, "starting")
    assert [(process.name, process.gpus) for process in state.processes] == [
        ("trainer", ("0", "1")),
        ("orchestrator", ()),
        ("inference", ("2",)),
    ]
    assert [rank.rank for rank in state.processes[0].ranks] == [0, 1]
    assert state.host and state.boot_id
    assert state.provenance.argv == ["launch", "rl"]


def test_what_was_written_is_read_again_the_same(file: StateFile) -> None:
    file.write()
    assert stored(file) == file.state


def test_each_event_that_changes_the_state_is_on_disk_at_once(file: StateFile) -> None:
    state = after(
        file, Started("trainer", os.getpid()), RankStarted("trainer", 1, os.getpid()), Ready("inference", 1.5)
    )
    trainer, _, inference = state.processes
    assert trainer.process and is_alive(trainer.process)
    assert trainer.ranks[1].process == trainer.process
    assert trainer.ranks[0].process is None
    assert inference.ready_after == 1.5

    state = after(file, RankExited("trainer", 1, -9), Exited("trainer", 1))
    assert (state.processes[0].exit_code, state.processes[0].ranks[1].exit_code) == (1, -9)


def test_changes_that_are_written_later_are_one_write(file: StateFile) -> None:
    file.write()
    due: list[Callable[[], None]] = []
    tell = StateListener(file, due.append)
    tell(Started("trainer", os.getpid()))
    tell(Ready("inference", 1.5))
    assert (len(due), stored(file).processes[0].process) == (1, None)
    due[0]()
    assert stored(file) == file.state
    tell(Exited("trainer", 1))
    assert len(due) == 2


def test_a_process_that_is_started_again_has_not_ended_any_more(file: StateFile) -> None:
    ends = [RankExited("trainer", 1, -15, ended_by="launch"), Exited("trainer", 1, ended_by="launch")]
    trainer = after(file, *ends).processes[0]
    assert (trainer.ended_by, trainer.ranks[1].ended_by) == ("launch", "launch")
    trainer = after(file, Started("trainer", os.getpid()), RankStarted("trainer", 1, os.getpid())).processes[0]
    assert (trainer.exit_code, trainer.ended_by) == (None, None)
    assert (trainer.ranks[1].exit_code, trainer.ranks[1].ended_by) == (None, None)


def test_a_rank_that_sigterm_has_ended_in_a_failed_run_was_ended_by_torchrun_unless_it_is_the_culprit(
    file: StateFile,
) -> None:
    after(file, RankExited("trainer", 0, -15), RankExited("trainer", 1, -15))
    culprit = FailureState(component="trainer", rank=1, what="SIGTERM", cause="", log=None, collateral=[], text="")
    file.end("failed", 1, culprit)
    assert [rank.ended_by for rank in stored(file).processes[0].ranks] == ["torchrun", None]


@pytest.mark.parametrize("event", [Stop("reason"), Kill()])
def test_a_run_that_is_being_ended_says_so(file: StateFile, event: Event | Action) -> None:
    assert after(file, event).state == "stopping"


@pytest.mark.parametrize(
    "arguments", [("--redirects", "0", "--tee", "0"), ("--redirects", "1:3", "--tee", "0"), ("--tee", "0:3")]
)
def test_every_rank_has_its_place_whatever_torchrun_redirects(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    plan = plan_of(sft("--nproc", "2", "--trainer.module", "m", *arguments), root=tmp_path)
    file = StateFile(plan.run, first_state(plan, {}))
    state = after(file, RankStarted("trainer", 0, 1), RankStarted("trainer", 1, 1), RankExited("trainer", 1, 0))
    assert [rank.exit_code for rank in state.processes[0].ranks] == [None, 0]


def test_a_console_that_stays_empty_is_replaced_by_the_ranks_files(tmp_path: Path) -> None:
    silent = plan_of(sft("--nproc", "2", "--tee", "0"), root=tmp_path)
    assert first_state(silent, {}).processes[0].panes == silent.processes[0].rank_logs
    loud = plan_of(sft("--nproc", "2"), root=tmp_path)
    assert first_state(loud, {}).processes[0].panes == (loud.processes[0].log,)


def test_the_end_is_written_with_its_failure(file: StateFile) -> None:
    failure = FailureState(
        component="trainer", rank=1, what="SIGSEGV", cause="é\n\x00", log=Path("/x"), collateral=["inference"], text="t"
    )
    file.end("failed", 1, failure)
    state = stored(file)
    assert (state.state, state.exit_code, state.failure) == ("failed", 1, failure)
    assert state.ended and state.ended >= state.started


def test_a_run_that_is_stopped_in_the_pause_says_of_no_restart(file: StateFile) -> None:
    after(file, Decided(Verdict("signal", True, "SIGKILL", 30.0)))
    file.end("stopped", 130, None, "stopped by pid 7")
    assert stored(file).verdict is None


def test_a_disk_that_refuses_does_not_end_a_run_that_goes_on(plan: Plan) -> None:
    file = StateFile(RunDir(plan.run.root / "missing"), first_state(plan, {}))
    StateListener(file)(Started("trainer", 1))
    file.end("finished", 0, None)
    with pytest.raises(OSError, match="No such file"):
        file.write()


# --- reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff\xfe", b'{"name": "x"}'])
def test_a_file_that_is_none_of_ours_is_no_state(tmp_path: Path, content: bytes) -> None:
    run = RunDir(tmp_path)
    run.state.write_bytes(content)
    assert read_state(run) is None


def test_a_directory_without_a_run_has_no_state(tmp_path: Path) -> None:
    assert read_state(RunDir(tmp_path / "missing")) is None


def test_what_a_newer_launch_knows_more_is_ignored(file: StateFile) -> None:
    file.write()
    values = json.loads(file.run.state.read_text())
    values["tomorrow"] = values["processes"][0]["mood"] = "good"
    file.run.state.write_text(json.dumps(values))
    assert stored(file) == file.state


# --- who is alive -----------------------------------------------------------------------------------------------------


def test_a_process_is_known_by_its_start_not_by_its_pid_alone() -> None:
    ours = identify(os.getpid())
    assert is_alive(ours)
    assert not is_alive(ProcessId(pid=ours.pid, start_time=(ours.start_time or 0) - 1))
    assert not is_alive(ProcessId(pid=ours.pid, start_time=None))


def test_a_process_that_is_gone_is_not_alive() -> None:
    process = subprocess.Popen(["sleep", "300"])
    identity = identify(process.pid)
    assert is_alive(identity)
    process.kill()
    until(lambda: not is_alive(identity))  # it is not waited for yet
    process.wait()
    assert not is_alive(identity)
    assert not is_alive(identify(process.pid))


# --- writing ----------------------------------------------------------------------------------------------------------


def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text("old and longer")
    with path.open() as reader:
        write_atomically(path, "new")
        assert reader.read() == "old and longer"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_keeps_the_old_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        write_atomically(path, "new")
    assert list(tmp_path.iterdir()) == [path]
