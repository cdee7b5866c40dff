"""What `launch status` says of runs that are, were, or only claim to be."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import pytest

from launcher.processes.identity import ProcessId, identify
from launcher.rundir import RunDir
from launcher.runs.registry import register
from launcher.runs.state import (
    AttemptState,
    FailureState,
    ProcessState,
    ProgressState,
    RankState,
    RunState,
    VerdictState,
)
from launcher.tracking.wandb_links import WandbLink
from launcher.view.status.model import RunDetails, all_runs, run_details, run_status
from launcher.view.status.page import run_page
from launcher.view.status.table import age, runs_screen, runs_table
from tests.colours import without_colours
from tests.states import state_of

pytestmark = pytest.mark.usefixtures("here")

WIDTH = 80


@pytest.fixture
def sleeper() -> Iterator[ProcessId]:
    """A process that lives as long as the test."""
    with subprocess.Popen(["sleep", "300"]) as process:
        yield identify(process.pid)
        process.kill()


@pytest.fixture
def gone() -> ProcessId:
    """A process that was killed."""
    with subprocess.Popen(["sleep", "300"]) as process:
        identity = identify(process.pid)
        process.kill()
    return identity


MakeRun = Callable[..., tuple[RunDir, RunState]]


@pytest.fixture
def make_run(here: Path) -> MakeRun:
    def make(name: str = "otter", seen: float = 0, **facts: Any) -> tuple[RunDir, RunState]:
        """A run below ./outputs, finished unless `facts` say otherwise; its heartbeat is `seen` seconds old."""
        run = RunDir(here / "outputs" / name)
        run.root.mkdir(parents=True)
        progress = ProgressState(component="trainer", metric="loss", max_steps=150)
        state = state_of(run, **{"started": time.time() - 187, "progress": progress} | facts)
        run.state.write_text(state.model_dump_json())
        os.utime(run.state, (time.time() - seen, time.time() - seen))
        return run, state

    return make


def write_losses(run: RunDir, *losses: float, first: int = 1) -> None:
    run.all_metrics.mkdir(exist_ok=True)
    steps = [{"step": number, "time": 1.0, "loss": loss} for number, loss in enumerate(losses, first)]
    run.metrics("trainer").write_text("".join(f"{json.dumps(step)}\n" for step in steps))


def of_trainer(process: ProcessId | None, exit_code: int | None = None, **facts: Any) -> list[ProcessState]:
    return [ProcessState(name="trainer", log=Path("/t.log"), process=process, exit_code=exit_code, **facts)]


def page(run: RunDir, state: RunState) -> str:
    return run_page(state, run_details(run, state), colours=False)


# --- the state is true ------------------------------------------------------------------------------------------------


def test_a_run_whose_supervisor_lives_is_running(make_run: MakeRun, sleeper: ProcessId) -> None:
    assert run_status(*make_run(state="running", supervisor=sleeper)).state == "running"


def test_a_run_whose_supervisor_is_gone_has_died(make_run: MakeRun, gone: ProcessId) -> None:
    assert run_status(*make_run(state="running", supervisor=gone)).state == "died"


def test_a_run_from_before_the_last_boot_has_died(make_run: MakeRun, sleeper: ProcessId) -> None:
    run, state = make_run(state="running", supervisor=sleeper, boot_id="another", processes=of_trainer(sleeper))
    details = run_details(run, state)
    assert details.state == "died"
    assert [(process.state, process.usage) for process in details.components] == [("gone", None)]


def test_a_pid_that_another_process_has_now_is_not_taken_for_the_run(make_run: MakeRun, sleeper: ProcessId) -> None:
    before = ProcessId(pid=sleeper.pid, start_time=(sleeper.start_time or 0) - 1)
    run, state = make_run(state="running", supervisor=before, processes=of_trainer(before))
    details = run_details(run, state)
    assert details.state == "died"
    assert [(process.state, process.usage) for process in details.components] == [("gone", None)]


def test_a_restart_is_announced_until_the_run_is_being_stopped(make_run: MakeRun, sleeper: ProcessId) -> None:
    soon = VerdictState(kind="signal", again=True, why="x", seconds=30, text="restarts in 30 s: x", decided=time.time())
    run, state = make_run(state="running", supervisor=sleeper, verdict=soon)
    assert "  restart      attempt 2 begins at" in page(run, state)
    assert "begins at" not in page(run, state.model_copy(update={"state": "stopping"}))


def test_an_attempt_that_died_in_the_pause_is_not_said_to_restart(make_run: MakeRun, sleeper: ProcessId) -> None:
    soon = VerdictState(kind="signal", again=True, why="x", seconds=30, text="restarts in 30 s: x", decided=time.time())
    earlier = [
        AttemptState(attempt=1, state=state, started=1, ended=2, exit_code=1, verdict=soon)
        for state in ("running", "failed")
    ]
    shown = page(*make_run(state="running", supervisor=sleeper, earlier=earlier))
    assert "attempt 1 died after 1s\n" in shown
    assert "attempt 1 failed after 1s; restarts in 30 s: x" in shown


def test_a_run_that_died_took_until_it_was_last_seen(make_run: MakeRun, gone: ProcessId) -> None:
    run, state = make_run(state="running", supervisor=gone, started=time.time() - 1000, seen=400)
    assert 599 < run_status(run, state).duration < 601
    assert "after 10m 00s; its supervisor is gone" in page(run, state)


def test_a_run_of_another_host_is_running_while_its_heart_beats(make_run: MakeRun, sleeper: ProcessId) -> None:
    run, state = make_run(state="running", host="n3", seen=4, processes=of_trainer(sleeper))
    details = run_details(run, state)
    assert details.state == "running"
    assert [(process.state, process.usage) for process in details.components] == [("running", None)]
    assert "  last seen 4s ago on n3\n" in page(run, state)


def test_a_run_of_another_host_without_heartbeat_is_silent_and_its_processes_unknown(
    make_run: MakeRun, sleeper: ProcessId
) -> None:
    run, state = make_run(state="running", host="n3", seen=40, supervisor=sleeper, processes=of_trainer(sleeper))
    details = run_details(run, state)
    assert details.state == "silent"
    assert [(process.state, process.usage) for process in details.components] == [("unknown", None)]
    assert runs_table([details], WIDTH, colours=False)[2] == "  last seen 40s ago on n3"
    assert "launch stop otter (on n3)" in page(run, state)


def test_a_run_that_ended_on_another_host_is_not_looked_for(make_run: MakeRun) -> None:
    run, state = make_run(host="n3", seen=4000)
    assert "last seen" not in page(run, state)


# --- the table --------------------------------------------------------------------------------------------------------


def test_without_runs_it_is_said_how_to_start_one() -> None:
    assert runs_screen(all_runs()) == "there is no run yet; start one with: launch rl"


def test_the_table_shows_name_state_kind_attempt_step_age_and_metric(make_run: MakeRun) -> None:
    run, state = make_run(state="failed", attempt=2, started=time.time() - 300, ended=time.time() - 113)
    write_losses(run, 3, 2, 1, 0.5)
    header, row = runs_table([run_status(run, state)], WIDTH, colours=False)
    assert header.split() == ["NAME", "STATE", "KIND", "ATTEMPT", "STEP", "AGE", "TOOK", "LOSS/REWARD"]
    assert row.split() == ["otter", "failed", "sft", "2", "4/150", "5m", "3m", "07s", "0.5", "█▅▂▁"]


def test_the_run_that_started_last_comes_first(make_run: MakeRun) -> None:
    for name, age_of_run in (("old", 30), ("newest", 10), ("middle", 20)):
        make_run(name, started=time.time() - age_of_run)
    assert [run.name for run in all_runs().shown] == ["newest", "middle", "old"]


def test_runs_that_cannot_be_read_are_counted_and_named_with_the_reason(make_run: MakeRun, here: Path) -> None:
    make_run("otter")
    for name, content in (("broken", "{"), ("far", '{"started": 1e300}'), ("new", "")):
        (here / "outputs" / name).mkdir()
        (here / "outputs" / name / "run.json").write_text(content)
    lines = runs_screen(all_runs()).splitlines()
    assert lines[1].startswith("otter")
    assert lines[2] == "3 more cannot be read:"
    assert lines[3].startswith("  outputs/broken/run.json: Invalid JSON: ")
    assert lines[4].startswith("  outputs/far/run.json: name: Field required")
    assert lines[5].startswith("  outputs/new/run.json: empty: ")


@pytest.mark.parametrize("started", ["1e300", "-1", "Infinity", "NaN", "1e999"])
def test_a_start_that_no_clock_shows_is_a_run_that_cannot_be_read(make_run: MakeRun, started: str) -> None:
    run, state = make_run()
    run.state.write_text(state.model_dump_json().replace(str(state.started), started))
    assert "1 more cannot be read:\n  outputs/otter/run.json: started: Input should be" in runs_screen(all_runs())


def test_runs_elsewhere_are_shown_with_all_and_each_with_its_directory(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = make_run("otter")
    register(run.root, "otter")
    monkeypatch.chdir(tmp_path)
    nothing_here = "there is no run below ./outputs; list runs elsewhere with: launch status --all"
    assert runs_screen(all_runs()) == nothing_here
    lines = runs_screen(all_runs(everywhere=True), everywhere=True).splitlines()
    assert lines[1].startswith("otter") and lines[2:] == [f"  {run.root}"]


@pytest.mark.parametrize("width", [80, 200])
@pytest.mark.parametrize("name", ["otter", "spectacular-caterpillar", "sft-some-model-8b-lr1e-5-batch-256"])
def test_the_table_is_no_wider_than_the_terminal(make_run: MakeRun, name: str, width: int) -> None:
    run, state = make_run(name)
    write_losses(run, *(float(n) for n in range(200)), first=9000)
    table = runs_table([run_status(run, state)], width, colours=False)
    assert max(map(len, table)) <= width
    assert name in table[1] and "finished" in table[1] and "█" in table[1]


def test_a_wide_terminal_has_longer_sparklines(make_run: MakeRun) -> None:
    run, state = make_run()
    write_losses(run, *(float(n) for n in range(100)))
    narrow, wide = (len(runs_table([run_status(run, state)], width, colours=False)[1]) for width in (80, 120))
    assert narrow <= 80 < wide <= 120


def test_a_terminal_gets_as_many_runs_as_it_has_lines_and_a_pipe_all(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINES", "8")
    for number in range(9):
        make_run(f"otter-{number}", started=time.time() - number)
    assert len(runs_screen(all_runs()).splitlines()) == 1 + 9
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    lines = runs_screen(all_runs()).splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == [f"otter-{number}" for number in range(5)]
    assert lines[-1] == "4 older ones: launch status | less"


def test_a_run_that_has_logged_nothing_has_no_step(make_run: MakeRun) -> None:
    row = runs_table([run_status(*make_run())], WIDTH, colours=False)[1]
    assert "-/150" in row
    assert row.endswith("3m 07s")


def test_colours_change_nothing_else(make_run: MakeRun) -> None:
    runs = [
        run_status(*make_run(name, **facts))
        for name, facts in (("a", {"state": "failed"}), ("b", {"state": "stopped"}))
    ]
    coloured = runs_table(runs, WIDTH, colours=True)
    assert "\x1b[31mfailed" in coloured[1]
    assert [without_colours(line) for line in coloured] == runs_table(runs, WIDTH, colours=False)


@pytest.mark.parametrize(("seconds", "text"), [(-1, "0s"), (42, "42s"), (187, "3m"), (7500, "2h"), (5e5, "5d")])
def test_ages_are_one_unit(seconds: float, text: str) -> None:
    assert age(seconds) == text


# --- one run ----------------------------------------------------------------------------------------------------------


def test_a_component_is_shown_with_pid_usage_gpus_and_ranks(make_run: MakeRun, sleeper: ProcessId) -> None:
    ranks = [RankState(rank=0, log=Path("/r"), process=sleeper), RankState(rank=1, log=Path("/r"), exit_code=-9)]
    trainer = of_trainer(sleeper, gpus=("0", "1"), ready_after=2.1, ranks=ranks)
    run, state = make_run(state="running", supervisor=sleeper, processes=trainer)
    lines = [line.split() for line in page(run, state).splitlines()]
    header = lines.index(["PID", "STATE", "CPU", "MEMORY", "GPU"])
    pid = str(sleeper.pid)
    supervisor, component, rank_0, rank_1 = lines[header + 1 : header + 5]
    assert supervisor[:4] == ["supervisor", pid, "running", "0%"]
    assert component[:6] == ["trainer", pid, "ready", "after", "2.1s", "0%"]
    assert component[-2:] == ["MB", "0,1"]
    assert rank_0[:4] == ["rank", "0", pid, "running"]
    assert rank_1 == ["rank", "1", "SIGKILL"]


def test_memory_is_that_of_the_whole_tree(make_run: MakeRun) -> None:
    script = "sleep 300 & sleep 300 & echo; wait"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True) as shell:
        assert shell.stdout and shell.stdout.readline()
        details = run_details(*make_run(state="running", processes=of_trainer(identify(shell.pid))))
        shell_alone = psutil.Process(shell.pid).memory_info().rss
        os.killpg(shell.pid, signal.SIGKILL)
    usage = details.components[0].usage
    assert usage and usage.memory > shell_alone > 0


def test_the_failure_block_stands_there_as_it_was_shown(make_run: MakeRun) -> None:
    text = "FAILED  trainer rank 1: SIGSEGV\n\n  é\n\n  log  x\n\n"
    failure = FailureState(component="trainer", rank=1, what="SIGSEGV", cause="é", log=None, collateral=[], text=text)
    run, state = make_run(state="failed", failure=failure, exit_code=1)
    assert text in page(run, state)
    assert run_details(run, state).failure == failure.model_dump(mode="json")


def test_earlier_attempts_are_named_with_how_they_ended(make_run: MakeRun) -> None:
    earlier = [
        AttemptState(attempt=1, state="failed", started=0, ended=60, exit_code=1),
        AttemptState(attempt=2, state="running", started=100, ended=None, exit_code=None),
    ]
    lines = page(*make_run(attempt=3, earlier=earlier)).splitlines()
    assert "  earlier      attempt 1 failed after 1m 00s" in lines
    assert "  earlier      attempt 2 died" in lines


def test_how_to_sync_is_said_only_once_the_run_is_over(make_run: MakeRun, sleeper: ProcessId, tmp_path: Path) -> None:
    link = WandbLink("trainer", "otter", "id", "https://wandb.ai/x", str(tmp_path), (str(tmp_path),))
    for number, (facts, is_over) in enumerate([({}, True), ({"state": "running", "supervisor": sleeper}, False)]):
        run, state = make_run(f"otter-{number}", **facts)
        link.write(run.wandb_link("trainer"))
        text = page(run, state)
        assert "otter: https://wandb.ai/x" in text
        assert (f"wandb sync {tmp_path}" in text) is is_over


def test_a_resume_is_offered_only_where_there_is_something_to_go_on_from(make_run: MakeRun) -> None:
    assert "launch resume" not in page(*make_run(state="failed"))
    assert "launch resume badger" in page(*make_run("badger", state="failed", own_checkpoints=False))
    run, state = make_run("heron", state="failed")
    run.checkpoint(50).mkdir(parents=True)
    assert "  checkpoint   step 50\n" in page(run, state)
    assert run_details(run, state).checkpoint == 50


@pytest.mark.parametrize(
    ("facts", "commands"),
    [
        ({}, ["logs otter"]),
        ({"state": "failed"}, ["logs otter", "resume otter"]),
        ({"state": "stopped"}, ["logs otter", "resume otter"]),
        ({"state": "running", "host": "n3"}, ["attach otter", "logs otter -f", "stop otter (on n3)"]),
        ({"state": "running", "host": "n{3"}, ["attach otter", "logs otter -f", "stop otter (on n{3)"]),
    ],
)
def test_what_one_may_type_next_is_said(make_run: MakeRun, facts: dict[str, Any], commands: list[str]) -> None:
    run, state = make_run(**facts)
    run.checkpoint(50).mkdir(parents=True)
    text = page(run, state)
    assert re.findall(r"^  (?:next)? +launch (.*)$", text, re.MULTILINE) == commands


def test_what_is_left_of_a_run_that_died_can_be_stopped(make_run: MakeRun, gone: ProcessId, sleeper: ProcessId) -> None:
    text = page(*make_run(state="running", supervisor=gone, processes=of_trainer(sleeper)))
    assert "launch stop otter (some of its processes are still there)" in text


# --- for programs -----------------------------------------------------------------------------------------------------


def documented(section: str) -> set[str]:
    """The fields in a table of docs/status.md."""
    text = (Path(__file__).parents[3] / "docs" / "status.md").read_text()
    return set(re.findall(r"^\| `(\w+)` \|", text.split(f"\n## {section}\n")[1].split("\n## ")[0], re.MULTILINE))


def test_every_field_is_documented_and_every_documented_field_is_there(make_run: MakeRun, tmp_path: Path) -> None:
    ranks = [RankState(rank=0, log=Path("/r"))]
    earlier = [AttemptState(attempt=1, state="failed", started=0, ended=60, exit_code=1)]
    run, state = make_run(attempt=2, processes=of_trainer(None, ranks=ranks), earlier=earlier)
    WandbLink("trainer", "otter", "id", None, str(tmp_path), ()).write(run.wandb_link("trainer"))
    row, details = asdict(run_status(run, state)), asdict(run_details(run, state))
    assert set(row) == documented("A run")
    assert set(details) - set(row) == documented("One run in full")
    assert set(details["earlier"][0]) == documented("An earlier attempt")
    assert set(details["wandb"][0]) == documented("A W&B run")
    component = details["components"][0]
    assert set(component) | set(component["ranks"][0]) == documented("A process")
    assert set(details["launchers"][0]) <= documented("A process")


def test_what_is_no_number_does_not_spoil_the_json(make_run: MakeRun) -> None:
    run, state = make_run()
    run.all_metrics.mkdir()
    run.metrics("trainer").write_text('{"step": 1, "loss": NaN}\n{"step": 2, "loss": null, "x": Infinity}\n')
    details: RunDetails = run_details(run, state)
    assert json.loads(json.dumps(asdict(details), allow_nan=False))["step"] == 2
