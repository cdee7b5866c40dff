"""What the summary of a run says."""

import signal

import pytest

from launcher.checkpoints import resolve_model
from launcher.failure.failure import Failure
from launcher.instrumentation.marks import write_mark
from launcher.plan.spec import Plan
from launcher.processes.identity import ProcessId
from launcher.runs.state import FailureState, RunState
from launcher.runs.state_file import first_state
from launcher.tracking.wandb_links import WandbLink
from launcher.view.report import failure_state
from launcher.view.summary import summary
from tests.plans import write_metrics


def ended(plan: Plan, state: str = "finished", seconds: float = 0, failure: FailureState | None = None) -> RunState:
    found = first_state(plan, {})
    found.state, found.started, found.ended, found.failure = state, 1000.0, 1000.0 + seconds, failure  # type: ignore[assignment]
    return found


def failure(plan: Plan, **facts: object) -> Failure:
    defaults = {"component": "trainer", "rank": 1, "what": "SIGSEGV", "cause": "a\n\nb", "log": None, "collateral": ()}
    return Failure(**(defaults | facts))  # type: ignore[arg-type]


def test_the_summary_tells_how_the_run_ended_and_the_components_where_that_is_news(plan: Plan) -> None:
    state = ended(plan, "failed", 187, failure_state(plan, failure(plan, rank=None, what="exit code 3")))
    trainer, _, inference = state.processes
    trainer.process = inference.process = ProcessId(pid=1, start_time=1)
    trainer.exit_code = 3
    inference.exit_code, inference.ended_by = -signal.SIGTERM, "launch"
    assert summary(plan, state).splitlines() == [
        "run otter failed after 3m 07s",
        "  trainer      exit code 3",
        "  orchestrator not started",
        "  logs         outputs/otter/logs/attempt_3",
    ]


def test_the_summary_names_the_rank_that_failed_and_not_how_its_torchrun_was_ended(plan: Plan) -> None:
    state = ended(plan, "failed", failure=failure_state(plan, failure(plan)))
    trainer = state.processes[0]
    trainer.process = ProcessId(pid=1, start_time=1)
    trainer.exit_code, trainer.ended_by = -signal.SIGKILL, "launch"
    trainer.ranks[1].exit_code = -signal.SIGSEGV
    assert "  trainer      rank 1: SIGSEGV\n" in summary(plan, state)


@pytest.mark.parametrize("word", ["finished", "stopped"])
def test_a_run_that_did_not_fail_is_called_otherwise(plan: Plan, word: str) -> None:
    assert summary(plan, ended(plan, word)).startswith(f"run otter {word} after 0s\n")


def test_the_summary_of_a_failed_run_leaves_the_screen_to_the_failure(plan: Plan) -> None:
    write_metrics(plan, "orchestrator", *({"step": n, "reward/mean": n / 10} for n in range(1, 10)))
    assert "┤" in summary(plan, ended(plan))
    text = summary(plan, ended(plan, "failed", failure=failure_state(plan, failure(plan))))
    assert "  reward       mean 0.1 at step 1, 0.9 at step 9\n" in text
    assert "┤" not in text


def test_first_and_last_evaluation_then_the_curve_then_the_newest_metrics(plan: Plan) -> None:
    steps = [{"step": n, "reward/mean": n / 10, "time": 1.0} for n in range(1, 10)]
    evaluations = [{"step": 0, "evaluation/reward": 0.01}, {"step": 10, "evaluation/reward": 0.98765}]
    write_metrics(plan, "orchestrator", evaluations[0], *steps, evaluations[1])
    write_metrics(plan, "trainer", {"step": 9, "loss": 0.25, "perf/tokens_per_s": 12_400})
    lines = summary(plan, ended(plan)).splitlines()
    assert lines[:3] == [
        "run otter finished after 0s",
        "  evaluation   reward 0.01 at step 0, 0.988 at step 10",
        "  reward       mean 0.1 at step 1, 0.9 at step 9",
    ]
    assert all("┤" in line for line in lines[3:9])
    assert lines[3].startswith("  0.9 ┤")
    assert lines[9:] == [
        "  trainer      step 9: loss 0.25, 12.4k tokens/s",
        "  logs         outputs/otter/logs/attempt_3",
    ]


def test_first_and_last_evaluation_of_a_long_run_are_found(plan: Plan) -> None:
    def steps(count: int) -> list[dict[str, object]]:
        return [{"step": n, "reward/mean": 0.5, "filler": "x" * 1000} for n in range(1, count)]

    evaluations = [{"step": 0, "evaluation/reward": 0.01}, {"step": 5000, "evaluation/reward": 0.9}]
    write_metrics(plan, "orchestrator", evaluations[0], *steps(4000), evaluations[1], *steps(100))
    assert "  evaluation   reward 0.01 at step 0, 0.9 at step 5000\n" in summary(plan, ended(plan))


def test_a_component_that_had_to_be_killed_is_news_and_one_that_ended_as_it_should_is_not(plan: Plan) -> None:
    state = ended(plan, "stopped")
    for process, exit_code in zip(state.processes, (-signal.SIGKILL, -signal.SIGTERM, 0), strict=True):
        process.process, process.exit_code, process.ended_by = ProcessId(pid=1, start_time=1), exit_code, "launch"
    ranks = state.processes[0].ranks
    for rank in ranks:
        rank.exit_code = 0
    assert "SIGKILL" not in summary(plan, state)  # of torchrun, whose ranks have ended as they should
    ranks[1].exit_code = -signal.SIGKILL
    assert summary(plan, state).splitlines() == [
        "run otter stopped after 0s",
        "  trainer      ended by launch (SIGKILL)",
        "  logs         outputs/otter/logs/attempt_3",
    ]


# --- what to type -----------------------------------------------------------------------------------------------------


def test_the_newest_checkpoint_is_named_with_the_commands_that_use_it(plan: Plan) -> None:
    for step in (50, 100):
        plan.run.checkpoint(step).mkdir(parents=True)
        (plan.run.checkpoint(step) / "config.json").touch()
    expected = [
        "  checkpoint   step 100",
        "               launch rl --model outputs/otter",
        "               vllm serve outputs/otter/checkpoints/step_100",
    ]
    assert summary(plan, ended(plan)).splitlines()[1:4] == expected
    assert "               launch resume otter" in summary(plan, ended(plan, "stopped")).splitlines()
    assert resolve_model("outputs/otter").endswith("outputs/otter/checkpoints/step_100")


def test_a_run_without_a_checkpoint_names_no_command_for_one(plan: Plan) -> None:
    assert "vllm" not in summary(plan, ended(plan)) and "checkpoint" not in summary(plan, ended(plan))


def offline_runs(plan: Plan, *names: str) -> tuple[str, ...]:
    directories = [plan.run.wandb / f"{kind}-20261126_091500-{name}" for kind, name in (n.split(":") for n in names)]
    for directory in directories:
        directory.mkdir(parents=True)
    return tuple(map(str, directories))


def test_what_was_logged_offline_is_uploaded_by_one_short_command(plan: Plan) -> None:
    first, second = offline_runs(plan, "offline-run:a", "offline-run:b")
    WandbLink("trainer", "otter-trainer", "a", None, first, (first,)).write(plan.run.wandb_link("trainer"))
    WandbLink("orchestrator", "otter-orch", "b", None, second, (second,)).write(plan.run.wandb_link("orchestrator"))
    lines = [line for line in summary(plan, ended(plan)).splitlines() if "W&B" in line]
    assert lines == ["  W&B          upload it with: wandb sync outputs/otter/wandb/offline-run-*"]


def test_what_the_short_command_would_not_upload_is_named(plan: Plan) -> None:
    offline, online = offline_runs(plan, "offline-run:a", "run:a")
    WandbLink("trainer", "otter", "a", None, online, (offline, online)).write(plan.run.wandb_link("trainer"))
    names = "outputs/otter/wandb/offline-run-20261126_091500-a outputs/otter/wandb/run-20261126_091500-a"
    assert f"upload it with: wandb sync --include-online {names}\n" in summary(plan, ended(plan))


# --- what is no number ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), "high"])
def test_a_metric_that_is_no_number_does_not_spoil_the_summary(plan: Plan, value: object) -> None:
    write_metrics(plan, "orchestrator", {"step": 1, "reward/mean": value}, {"step": 2, "reward/mean": value})
    assert summary(plan, ended(plan)).endswith("  logs         outputs/otter/logs/attempt_3\n")


def test_a_start_that_took_long_has_a_line_with_what_it_waited_for(plan: Plan) -> None:
    state = ended(plan)
    for phase, at in (("spawn", 1.0), ("imports", 30.0)):
        write_mark(plan.run.marks, "trainer", phase, at=1000.0 + at)
    write_metrics(plan, "trainer", {"step": 1, "time": 1010.0, "loss": 1.0})
    assert "  start" not in summary(plan, state)
    write_metrics(plan, "trainer", {"step": 1, "time": 1032.0, "loss": 1.0})
    assert "  start        32s to the first step, longest: trainer imports 29.0s\n" in summary(plan, state)
