"""Log lines become metrics."""

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.plan.spec import Plan, ProcessSpec, Ranks
from launcher.rundir import RunDir
from launcher.supervisor.listeners import log_metrics
from launcher.supervisor.listeners.log_metrics import LoggedProgress, ProgressWatch
from launcher.supervisor.rules.events import NewAttempt
from tests.plans import component, plan_of, plan_on_node, sft
from tests.waiting import until

STEPS = r"step (?P<step>\d+).*loss=(?P<loss>\S+)"


def written(path: Path) -> list[tuple[int, float | None]]:
    lines = path.read_text().splitlines() if path.exists() else []
    return [(line["step"], line.get("loss")) for line in map(json.loads, lines)]


def follow(tmp_path: Path, pattern: str = STEPS, ranks: Ranks | None = None) -> LoggedProgress:
    plan = plan_of(sft("--trainer.command", "x"))
    spec: ProcessSpec = replace(component(plan, "trainer"), log=tmp_path / "log", progress=pattern, ranks=ranks)
    return LoggedProgress(spec, tmp_path / "metrics.jsonl")


def test_each_line_that_matches_is_a_step_and_the_others_are_nothing(tmp_path: Path) -> None:
    progress = follow(tmp_path)
    (tmp_path / "log").write_text("hello\n\x1b[32mstep 1\x1b[0m loss=0.5\nstep 2 loss=?\nstep 3 loss=1e-2\nstep 4 lo")
    progress.look()
    assert written(tmp_path / "metrics.jsonl") == [(1, 0.5), (2, None), (3, 0.01)]


# as prime-rl 0.8's orchestrator and trainer write them, with the colours of its logger
PRIME_RL = {
    "orchestrator": (
        "Evaluated reverse-text (Step 2) | Policy v1 |    1.2s | Reward 0.9000 | Turns 1.0 | Branches 1.0\n",
        "Step 3 |    1.2s | Reward 0.1234 | Trainable 96/128 (75.0%) | Turns 1.5 | Branches 1.0 | Max Off-Policy 1 | "
        "Error 0.8% | Cancelled 0.0% | Truncation 3.1%\n",
        "╰─ reverse-text-a | Ratio 50.0% | Reward 0.9000 | Turns 1.0 | Branches 1.0\n",
        "Step 4 |  1m 2s | Reward -0.5000 | Trainable 0/128 (0.0%)\n",
        "Step 5 |   850ms | Reward nan | Trainable 0/0 (0.0%)\n",
    ),
    "trainer": (
        "Micro Step 2/4 | Loss 9.0000 | Entropy 9.0000\n",
        "Step 3 |    1.2s | Loss 0.0123 | Entropy 0.4567 | Mismatch KL 0.0010 | Grad. Norm 0.7500 | LR 3.00e-06 | "
        "Throughput 1200 tokens/s | MFU 12.0% | Peak Mem. 9.0 GiB\n",
        "Step 4 |   1h 2m | Loss -0.0100 | Entropy 0.4000 | LR 3.00e-06 | Throughput 1100 tokens/s | MFU 12.0%\n",
    ),
}
PRIME_RL_STEPS = {
    "orchestrator": [
        {"step": 3, "reward": 0.1234, "turns": 1.5, "error": 0.8},
        {"step": 4, "reward": -0.5},
        {"step": 5, "reward": None},
    ],
    "trainer": [
        {"step": 3, "loss": 0.0123, "entropy": 0.4567, "grad_norm": 0.75},
        {"step": 4, "loss": -0.01, "entropy": 0.4},
    ],
}


@pytest.mark.parametrize("name", PRIME_RL)
def test_the_step_lines_of_prime_rl_are_metrics_and_its_other_lines_are_not(name: str, tmp_path: Path) -> None:
    recipe = tomllib.loads((Path(__file__).parents[3] / "configs" / "prime_rl.toml").read_text())
    progress = follow(tmp_path, recipe[name]["progress"])
    stamp = "\x1b[2m23:11:50\x1b[0m \x1b[32m\x1b[1mSUCCESS\x1b[0m \x1b[32m\x1b[1m\x1b[22m"
    (tmp_path / "log").write_text("".join(f"{stamp}{line[:-1]}\x1b[0m\x1b[0m\n" for line in PRIME_RL[name]))
    progress.look()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    names = ("step", "reward", "turns", "error", "loss", "entropy", "grad_norm")
    assert [{key: line[key] for key in names if key in line} for line in lines] == PRIME_RL_STEPS[name]


@pytest.mark.parametrize(
    ("log", "trouble"),
    [
        ("step 1 loss=0.5\n", None),
        ("", "progress matched nothing: its log is empty"),
        ("hello\n\nstp 1: 0.5\n", "progress matched nothing in 3 lines, such as 'stp 1: 0.5'"),
        ("step ? loss=?\nhello\n", "progress matched nothing in 2 lines, such as 'hello'"),
    ],
)
def test_a_pattern_that_has_matched_nothing_is_said(tmp_path: Path, log: str, trouble: str | None) -> None:
    progress = follow(tmp_path)
    (tmp_path / "log").write_text(log)
    progress.look()
    assert progress.trouble == trouble


def test_a_pattern_that_matches_what_is_no_number_is_said(tmp_path: Path) -> None:
    progress = follow(tmp_path, r"loss=(?P<loss>\S+)")
    (tmp_path / "log").write_text("loss=high\nhello\n")
    progress.look()
    assert progress.trouble == "progress matched, but found no number in 2 lines, such as 'loss=high'"


@pytest.mark.parametrize(
    ("node", "log", "trouble"),
    [
        (0, "hello\n", {"trainer": "progress matched nothing in 1 lines, such as 'hello'"}),
        (1, "hello\n", {}),
        (1, "", {}),
        (
            1,
            "step 1 loss=?\n",
            {"trainer": "progress matched, but found no number in 1 lines, such as 'step 1 loss=?'"},
        ),
    ],
)
def test_nodes_without_rank_0_may_log_no_step(tmp_path: Path, node: int, log: str, trouble: dict[str, str]) -> None:
    nodes = ("--nnodes", "2", "--node-rank", str(node), "--rdzv-endpoint", "a:29500")
    pattern = r"step \d+ loss=(?P<loss>\S+)"
    plan = plan_on_node(sft("--trainer.script", "x.py", "--trainer.progress", pattern, *nodes), ("a", "b"), tmp_path)
    spec = component(plan, "trainer")
    spec.log.parent.mkdir(parents=True)
    spec.log.write_text(log)
    watch = ProgressWatch(plan)
    watch.close()
    assert watch.troubles() == trouble


def test_a_progress_bar_that_repeats_itself_gives_each_step_once(tmp_path: Path) -> None:
    progress = follow(tmp_path)
    (tmp_path / "log").write_text("step 1 loss=0.5\rstep 1 loss=0.5\rstep 2 loss=0.4\r\n")
    progress.look()
    assert written(tmp_path / "metrics.jsonl") == [(1, 0.5), (2, 0.4)]


def test_without_a_name_for_the_step_lines_are_counted_on_from_the_last_attempt(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 7, "loss": 1.0}\n')
    progress = follow(tmp_path, r"'loss': (?P<loss>[\d.]+)")
    (tmp_path / "log").write_text("{'loss': 0.5}\n{'loss': 0.5}\n")
    progress.look()
    assert written(tmp_path / "metrics.jsonl")[1:] == [(8, 0.5), (9, 0.5)]


def test_steps_that_are_repeated_after_a_resume_take_the_place_of_the_old_ones(tmp_path: Path) -> None:
    old = [{"step": step, "loss": 9.0} for step in range(1, 5)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in old))
    progress = follow(tmp_path)
    (tmp_path / "log").write_text("step 3 loss=1\nstep 4 loss=1\n")
    progress.look()
    assert written(tmp_path / "metrics.jsonl") == [(1, 9.0), (2, 9.0), (3, 1.0), (4, 1.0)]


def test_of_several_ranks_the_first_is_read(tmp_path: Path) -> None:
    for rank in range(2):
        directory = tmp_path / "ranks" / "attempt_0" / str(rank)
        directory.mkdir(parents=True)
        (directory / "stderr.log").write_text(f"step 1 loss={rank}\n")
    (tmp_path / "log").write_text("[trainer0]:step 1 loss=0\n[trainer1]:step 1 loss=1\n")
    follow(tmp_path, ranks=Ranks(2, (0, 1), tmp_path / "ranks")).look()
    assert written(tmp_path / "metrics.jsonl") == [(1, 0.0)]


@pytest.fixture
def plans(tmp_path: Path) -> list[Plan]:
    config = sft("--trainer.command", "x", "--trainer.progress", STEPS)
    return [plan_of(config, root=RunDir(tmp_path).root, attempt=attempt) for attempt in (1, 2)]


def test_the_metrics_are_there_while_the_run_goes_on_and_complete_after_it(plans: list[Plan]) -> None:
    logs = [component(plan, "trainer").log for plan in plans]
    for log in logs:
        log.parent.mkdir(parents=True)
    metrics = plans[0].run.metrics("trainer")
    watch = ProgressWatch(plans[0])
    logs[0].write_text("step 1 loss=0.5\n")
    until(lambda: written(metrics) == [(1, 0.5)])
    watch(NewAttempt(plans[1]))
    logs[1].write_text("step 2 loss=0.4\nstep 3 loss=0.3")
    watch.close()
    assert written(metrics) == [(1, 0.5), (2, 0.4), (3, 0.3)]


def test_what_an_attempt_has_logged_is_in_the_metrics_before_it_is_judged(
    plans: list[Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_metrics, "INTERVAL", 1000.0)
    watch = ProgressWatch(plans[0])
    log = component(plans[0], "trainer").log
    log.parent.mkdir(parents=True)
    log.write_text("step 1 loss=0.5\n")
    watch.catch_up()
    assert written(plans[0].run.metrics("trainer")) == [(1, 0.5)]
    watch.close()
