"""`launch rl` as a new user types it, in a directory with an awkward name; one run, looked at from many sides."""

import json
import os
import re
import signal
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from launcher.timeline import read_timeline
from launcher.tracking.samples import read_samples, samples_file
from launcher.view.metric_curves import read_metrics, series
from tests.launching import LAUNCH, Launched, Launcher, launcher_in
from tests.waiting import until
from tests.wandb_files import history

pytestmark = pytest.mark.slow  # many launches: CI runs them, and whoever asks for them

SOCKET = f"launch-test-{os.getpid()}"


@dataclass(frozen=True)
class Finished:
    launched: Launched
    launcher: Launcher
    exit_code: int
    panes: str

    @property
    def orchestrator(self) -> list[dict[str, Any]]:
        return read_metrics(self.launched.run.metrics("orchestrator"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    directory = tmp_path_factory.mktemp("a b") / "it's $(touch pwned) ü"
    directory.mkdir()
    tmux, panes = ("--tmux.socket-name", SOCKET, "--tmux.keep"), ("tmux", "-L", SOCKET)
    with launcher_in(directory) as launcher:
        launched = launcher("rl", "--output-dir", "run", "--name", "calm-otter", "--wandb", *tmux)
        try:
            exit_code = launched.exit_code(560)
            fields = "#{window_name} #{pane_title} #{pane_dead}"
            listed = subprocess.run([*panes, "list-panes", "-a", "-F", fields], capture_output=True, text=True)
            yield Finished(launched, launcher, exit_code, listed.stdout)
        finally:
            subprocess.run([*panes, "kill-server"], capture_output=True, check=False)


def test_it_finishes(finished: Finished) -> None:
    assert finished.exit_code == 0, finished.launched.output[-3000:]


def test_it_learns_the_held_out_prompts_from_nothing(finished: Finished) -> None:
    rewards = series(finished.orchestrator, "evaluation/reward")
    assert rewards[0] < 0.1
    assert rewards[-1] >= 0.95


def test_no_shell_has_seen_the_name_of_the_directory(finished: Finished) -> None:
    assert not list(finished.launcher.directory.rglob("pwned"))


def test_every_component_and_rank_has_its_log(finished: Finished) -> None:
    run = finished.launched.run
    logs = [run.launcher_log, run.rank_log(0)]
    logs += [run.component_log(name) for name in ("trainer", "orchestrator", "inference")]
    logs += [run.torchrun / "calm-otter-1" / "attempt_0" / "0" / "stdout.log"]
    assert [log for log in logs if log.stat().st_size == 0] == []


def test_what_we_log_has_no_control_characters(finished: Finished) -> None:
    for log in finished.launched.run.logs.rglob("*.log"):
        assert b"\x1b" not in log.read_bytes(), log


def test_the_console_has_the_run_the_orchestrators_log_and_a_summary(finished: Finished) -> None:
    output = finished.launched.output
    order = ["rl run calm-otter, attempt 1", "launch attach calm-otter", "launch       inference: ready after"]
    order += [
        "step 1/",
        "run calm-otter finished after",
        "evaluation   reward",
        "┤",
        "vllm serve run/checkpoints/step_",
    ]
    places = [output.find(text) for text in order]
    assert -1 not in places, dict(zip(order, places, strict=True))
    assert places == sorted(places)


def test_no_line_of_a_step_wraps_at_80_columns(finished: Finished) -> None:
    lines = finished.launched.output.splitlines()
    steps = [line for line in lines if re.match(r"\d\d:\d\d:\d\d orchestrator step ", line)]
    assert len(steps) == 140
    assert max(map(len, steps)) <= 80


def test_a_pipe_gets_no_progress_line_and_no_colour(finished: Finished) -> None:
    assert not {"\x1b", "\r", "━"} & set(finished.launched.output)


def test_a_pane_for_each_component_rank_and_the_launcher_stays_open_if_asked_to(finished: Finished) -> None:
    panes = finished.panes.splitlines()
    assert panes[:5] == [
        "logs trainer 0",
        "logs orchestrator 0",
        "logs inference 0",
        "ranks trainer 0 0",
        "launcher launcher 0",
    ]
    assert panes[5].startswith("metrics")


def test_metrics_have_one_line_a_step(finished: Finished) -> None:
    for name in ("trainer", "orchestrator"):
        steps = [step["step"] for step in read_metrics(finished.launched.run.metrics(name)) if "time" in step]
        assert set(range(1, max(steps) + 1)) <= set(steps)


def test_wandb_has_a_run_for_trainer_and_orchestrator_with_the_same_values(finished: Finished) -> None:
    run = finished.launched.run
    for name, metric in (("trainer", "loss"), ("orchestrator", "reward/mean")):
        link = json.loads(run.wandb_link(name).read_text())
        assert link["name"] == f"calm-otter-{name}"
        logged = [row[metric] for row in history(Path(link["directory"])) if metric in row]
        assert logged == pytest.approx(series(read_metrics(run.metrics(name)), metric))


def test_samples_of_the_last_step_are_shown(finished: Finished) -> None:
    run = finished.launched.run
    command = [LAUNCH, "samples", str(run.root), "--best", "--count", "3"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "calm-otter, orchestrator, step 140: 3 of 64 samples" in shown
    best = max(read_samples(samples_file(run.samples("orchestrator"), 140)), key=lambda row: row["reward"])
    assert best["prompt"] in shown and "reward 1 " in shown
    assert len(list(run.samples("orchestrator").iterdir())) <= 65


def test_its_timeline_leads_from_the_spawn_to_the_first_step_of_each_component(finished: Finished) -> None:
    launched = finished.launched
    start = read_timeline(launched.run, launched.state())
    phases = {row.component: [phase.name for phase in row.phases] for row in start.rows}
    assert phases["trainer"][:3] == ["spawn", "torchrun", "imports"]  # one rank meets no other
    assert phases["trainer"][3:] == ["model", "first weights", "first batch", "first step"]
    assert {"imports", "inference", "first rollout", "evaluation", "first step"} <= set(phases["orchestrator"])
    assert phases["inference"] == ["spawn", "imports", "model", "ready"]
    assert start.first_step is not None
    chain = [phase for _, phase in start.critical]
    assert chain[0].start == 0 and chain[-1].end == start.first_step
    assert sum(phase.seconds for phase in chain) <= start.first_step + 0.001


def test_what_was_handed_over_and_passed_is_removed(finished: Finished) -> None:
    run = finished.launched.run
    assert len(list(run.rollouts.iterdir())) <= 2
    assert len(list(run.all_weights.iterdir())) <= 3


def test_its_config_repeats_it(finished: Finished) -> None:
    config = finished.launched.run.config
    assert not {"name", "output_dir"} & tomllib.loads(config.read_text()).keys()
    done = subprocess.run([LAUNCH, "rl", "@", str(config), "--dry-run"], capture_output=True, text=True, check=True)
    assert "launcher.workload.rl" in done.stdout


def test_run_json_says_how_it_went(finished: Finished) -> None:
    state = finished.launched.state()
    assert (state.state, state.exit_code, state.failure) == ("finished", 0, None)
    assert [process.name for process in state.processes] == ["trainer", "orchestrator", "inference"]
    assert state.provenance.packages["torch"]


def test_nothing_is_left_running(finished: Finished) -> None:
    assert [
        command for command in finished.launcher.alive().values() if "workload" in command or "guard" in command
    ] == []


def test_status_says_what_a_run_waits_for_whose_trainer_is_stopped(launch: Launcher) -> None:
    run = launch("rl", "--output-dir", "run", "--no-tmux", "--max-steps", "1000", "--grace", "2s")
    until(lambda: read_metrics(run.run.metrics("trainer")))
    os.kill(run.pid_of("rank 0"), signal.SIGSTOP)

    def page() -> str:
        command = [LAUNCH, "status", "run"]
        return subprocess.run(
            command, cwd=launch.directory, env=launch.environment, capture_output=True, text=True, check=True
        ).stdout

    until(lambda: re.search(r"^  now +orchestrator has waited \d+ s for weights \d+$", page(), re.MULTILINE))
    run.process.terminate()
    run.exit_code()
