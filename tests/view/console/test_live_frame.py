"""The live view at three widths: every line fits and none is cut, and it says what somebody wants to know."""

import re
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len

from launcher.failure.verdict import Verdict
from launcher.runs.inspection import ComponentStatus
from launcher.runs.usage import Usage
from launcher.runs.waits import Wait
from launcher.supervisor.rules.actions import Decided, Stop, StopAttempt
from launcher.supervisor.rules.events import Exited, NewAttempt, NotStarted, RankExited, RankStarted, Ready, Started
from launcher.view.console.live_frame import frame
from launcher.view.console.live_run import MOST_VALUES, LiveRun
from tests.plans import machine, plan_of, rl, sft

SIZES = [(80, 24), (120, 40), (200, 50)]
KEYS = [("a", "attach"), ("s", "stacks"), ("l", "full log"), ("q", "leave it running"), ("Ctrl-C", "stop")]


@pytest.fixture
def run(tmp_path: Path) -> LiveRun:
    """Eight ranks and a server on its own GPU; nothing has been started."""
    plan = plan_of(rl("--nproc", "8", "--inference.gpus", "1"), machine(gpus=9), root=tmp_path / "otter")
    return LiveRun(plan)


def start(run: LiveRun, ranks: int = 8) -> None:
    for pid, name in enumerate(("trainer", "orchestrator", "inference"), 4_000_001):
        run.hear(Started(name, pid))
    for rank in range(ranks):
        run.hear(RankStarted("trainer", rank, 4_100_000 + rank))


def measure(run: LiveRun, *waits: Wait) -> None:
    usage = Usage(cpu=1234.5, memory=123_400_000_000, gpu_memory=641_000_000_000)
    run.measured(
        [
            ComponentStatus(name, 4_000_001, "running", None, None, usage, None, "x.log", None, 0, (), ())
            for name in ("trainer", "orchestrator", "inference")
        ],
        waits,
    )


def learn(run: LiveRun, steps: int = 140) -> None:
    evaluation = {0: {"evaluation/reward": 0.01}, steps: {"evaluation/reward": 0.984}}
    run.add_steps([{"step": n, "reward/mean": n / 140, "time": 1.0, **evaluation.get(n, {})} for n in range(steps + 1)])
    run.pace._readings[0] = (0, time.monotonic() - 100)  # what the clock would have read
    run.pace._readings.append((steps, time.monotonic()))


def shown(run: LiveRun, size: tuple[int, int] = (80, 23)) -> str:
    return "\n".join(frame(run, KEYS, *size, colours=False))


def starting(run: LiveRun) -> None:
    start(run, ranks=5)
    measure(run, Wait("orchestrator", "inference at http://127.0.0.1:46159 to be ready", time.time() - 21))


def learning(run: LiveRun) -> None:
    start(run)
    run.hear(Ready("inference", 12.0))
    learn(run)
    measure(run, Wait("trainer", "batch 141", time.time() - 42))
    run.news.append(("22:07:44 trainer0 WARNING W&B has failed (timeout); it may miss some", "33"))


def ending(run: LiveRun) -> None:
    learning(run)
    run.hear(Stop("SIGINT"))
    run.hear(RankExited("trainer", 0, -9))
    run.hear(Exited("trainer", -9, ended_by="launch"))
    run.hear(Exited("inference", -11))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("happens", [lambda run: None, starting, learning, ending])
@pytest.mark.parametrize("colours", [False, True])
def test_every_line_fits_and_none_is_cut(run: LiveRun, happens, size: tuple[int, int], colours: bool) -> None:  # type: ignore[no-untyped-def]
    happens(run)
    lines = [re.sub(r"\x1b\[[\d;]*m", "", line) for line in frame(run, KEYS, size[0], size[1] - 1, colours)]
    assert max(map(cell_len, lines)) <= size[0]
    assert len(lines) <= size[1] - 1
    assert "…" not in "".join(lines)
    assert lines[-1].endswith("Ctrl-C stop")


@pytest.mark.parametrize("size", [(1, 1), (4, 9), (10, 3), (10, 23), (14, 23), (20, 5), (40, 12), (300, 8)])
def test_a_terminal_of_any_size_gets_lines_that_fit(run: LiveRun, size: tuple[int, int]) -> None:
    ending(run)
    lines = frame(run, KEYS, *size, colours=False)
    assert len(lines) <= size[1] and max(map(cell_len, lines)) <= size[0]


# --- start ------------------------------------------------------------------------------------------------------------


def test_before_anything_has_started_each_component_says_so(run: LiveRun) -> None:
    assert re.search(r"^rl run otter  starting  \ds$", shown(run), re.MULTILINE)
    assert len(re.findall(r"^  \w+ +not started", shown(run), re.MULTILINE)) == 3


def test_the_ranks_are_one_row_that_says_how_many_are_missing(run: LiveRun) -> None:
    start(run, ranks=5)
    assert re.search(r"  trainer       8 ranks, 3 still starting, \ds", shown(run))
    start(run, ranks=8)
    assert re.search(r"  trainer       8 ranks, running, \ds", shown(run))
    run.hear(RankExited("trainer", 3, 0))
    assert "  trainer       8 ranks, 1 ended" in shown(run)


def test_what_a_component_waits_for_is_said_with_its_length(run: LiveRun) -> None:
    starting(run)
    waits = r"orchestrator  waiting for inference to be ready, 2[0-9]s +4000002"  # the address hides the numbers
    assert re.search(waits, shown(run, (100, 24)))
    assert "starting" in next(line for line in shown(run).splitlines() if "  inference" in line)
    run.hear(Ready("inference", 12.0))
    assert "  inference     ready " in shown(run)


def test_a_component_that_is_started_after_another_waits_for_it(tmp_path: Path) -> None:
    plan = plan_of(rl(), root=tmp_path)
    after = replace(plan.process("orchestrator") or plan.followed, after=("inference",))
    run = LiveRun(replace(plan, processes=tuple(after if spec is plan.followed else spec for spec in plan.processes)))
    assert re.search(r"orchestrator  waiting for inference, \ds", shown(run))
    run.hear(NotStarted("inference", "no such file"))
    assert "inference     could not be started: no such file" in shown(run)


def test_pid_cpu_memory_and_gpus_stand_beside_the_state(run: LiveRun) -> None:
    learning(run)
    assert "4000001  1234%  123.4 GB  0-7 641.0 GB" in shown(run, (120, 40))
    assert "1234%" in shown(run)


def test_the_numbers_have_titles_unless_the_terminal_is_low(run: LiveRun) -> None:
    learning(run)
    titles = next(line for line in shown(run, (120, 40)).splitlines() if "PID" in line)
    numbers = next(line for line in shown(run, (120, 40)).splitlines() if "4000001" in line)
    assert titles.split() == ["PID", "CPU", "MEMORY", "GPU"]
    assert titles.index("GPU") == numbers.index("0-7") and titles.index("CPU") + 3 == numbers.index("%") + 1
    assert "PID" not in shown(run, (120, 12))


def test_before_anything_runs_there_are_no_titles(tmp_path: Path) -> None:
    assert "PID" not in shown(LiveRun(plan_of(sft("--trainer.command", "train"), root=tmp_path / "otter")))


def test_a_program_whose_steps_nobody_sees_runs_when_it_is_up(tmp_path: Path) -> None:
    run = LiveRun(plan_of(sft("--trainer.command", "train"), root=tmp_path / "otter"))
    assert "sft run otter  starting" in shown(run)
    run.hear(Started("trainer", 4711))
    assert "sft run otter  running" in shown(run)


# --- progress ---------------------------------------------------------------------------------------------------------


def test_step_bar_rate_time_left_value_evaluation_and_curve(run: LiveRun) -> None:
    start(run)
    learn(run, steps=70)
    text = shown(run)
    assert "  step 70/140  ━━━━━━━━━━━━────────────  0.7 steps/s  1m 40s left" in text
    assert "  reward/mean 0.5\n" in text
    assert "  evaluation/reward 0.984 at step 70, 0.01 at step 0" in text
    assert sum("┤" in line for line in text.splitlines()) == 6


def test_the_curve_of_a_long_run_needs_no_more_memory_and_keeps_its_shape(run: LiveRun) -> None:
    run.add_steps([{"step": n, "reward/mean": float(n)} for n in range(10 * MOST_VALUES)])
    assert len(run.values) <= MOST_VALUES
    assert run.values == sorted(run.values)
    assert (run.newest, run.step) == (10 * MOST_VALUES - 1, 10 * MOST_VALUES - 1)


def test_the_newest_warnings_stand_above_everything(run: LiveRun) -> None:
    for number in range(5):
        run.news.append((f"22:07:4{number} launch {number}", "33"))
    assert [line.split()[-1] for line in shown(run).splitlines()[:3]] == ["2", "3", "4"]


def test_a_new_attempt_begins_anew_and_servers_stay_as_they_are(run: LiveRun) -> None:
    learning(run)
    run.hear(Exited("trainer", 1))
    run.hear(Exited("orchestrator", 1))
    run.hear(NewAttempt(plan_of(rl("--nproc", "8"), machine(gpus=9), root=run.plan.run.root, attempt=2)))
    text = shown(run)
    assert "rl run otter, attempt 2  starting" in text
    assert "  trainer       not started" in text and "  inference     ready" in text
    assert "step" not in text.replace("steps", "")


def test_the_pause_before_a_restart_is_counted_down_and_ends_with_the_attempt_or_the_run(run: LiveRun) -> None:
    learning(run)
    run.hear(StopAttempt("trainer: SIGKILL"))
    assert "  stopping  " in shown(run)
    run.hear(Decided(Verdict("signal", True, "SIGKILL", 42.3)))
    assert "  restarting in 42s  " in shown(run)
    run.hear(Stop("SIGINT"))
    assert "  stopping  " in shown(run)
    run.hear(Decided(Verdict("signal", True, "SIGKILL")))
    assert "  restarting  " in shown(run)
    run.hear(NewAttempt(run.plan))
    assert "restarting" not in shown(run)
