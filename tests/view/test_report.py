"""What stands on the console before and after a run."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.failure.failure import Failure
from launcher.numbers import duration
from launcher.plan.spec import Plan
from launcher.view import report
from launcher.view.report import failure_block, failure_state, header, resume_note, shown
from tests.plans import plan_of, sft, write_metrics

# --- before -----------------------------------------------------------------------------------------------------------


def test_the_header_names_run_directory_components_gpus_and_notes(plan: Plan) -> None:
    assert header(plan, "launch-otter", ["no panes"]).splitlines() == [
        "rl run otter, attempt 3",
        "  directory    outputs/otter",
        "  trainer      2 ranks, GPU 0,1",
        "  orchestrator CPU",
        "  inference    GPU 1",
        "  panes        launch attach otter",
        "  note         inference shares GPU 1 with the trainer: there are 2 GPUs",
        "  note         no panes",
    ]


def test_a_note_is_wrapped_below_its_beginning_where_a_terminal_would_break_it(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = "not logged in to W&B: logging offline; log in with `wandb login`"
    assert header(plan, None, [note]).splitlines()[-1].endswith(note)  # a pipe gets one line
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(report, "size_of_terminal", lambda: (60, 24))
    lines = header(plan, None, [note]).splitlines()
    assert lines[-2:] == [
        "  note         not logged in to W&B: logging offline; log in",
        "               with `wandb login`",
    ]


def test_without_panes_nobody_is_told_to_attach(plan: Plan) -> None:
    assert "attach" not in header(plan, None)


def test_one_rank_is_not_called_ranks() -> None:
    assert "  trainer      1 rank, CPU\n" in header(plan_of(sft()), None)


def test_a_path_is_shown_as_it_would_be_typed_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown(tmp_path / "a" / "b") == "a/b"
    assert shown(Path("/elsewhere/b")) == "/elsewhere/b"


# --- a failure --------------------------------------------------------------------------------------------------------


def failure(plan: Plan, **facts: object) -> Failure:
    defaults = {"component": "trainer", "rank": 1, "what": "SIGSEGV", "cause": "a\n\nb", "log": None, "collateral": ()}
    return Failure(**(defaults | facts))  # type: ignore[arg-type]


def test_a_failure_is_one_block_with_who_how_why_where_and_what_next(plan: Plan) -> None:
    plan.run.checkpoint(50).mkdir(parents=True)
    block = failure_block(plan, failure(plan, log=plan.run.logs / "x.log", collateral=("inference", "orchestrator")))
    assert block.splitlines()[:10] == [
        "FAILED  trainer rank 1: SIGSEGV",
        "",
        "  a",
        "  ",
        "  b",
        "",
        "  log         outputs/otter/logs/attempt_3/x.log",
        "  collateral  inference, orchestrator: ended by launch",
        "  checkpoint  step 50",
        "  resume      launch resume otter",
    ]


def test_a_resume_is_not_offered_without_a_checkpoint(plan: Plan) -> None:
    block = failure_block(plan, failure(plan))
    assert "  checkpoint  none yet, so there is nothing to resume: start again\n" in block
    assert "launch resume" not in block


def test_of_a_trainer_that_is_not_ours_nobody_knows_whether_it_has_a_checkpoint(tmp_path: Path) -> None:
    plan = plan_of(sft("--trainer.script", "train.py"), root=tmp_path / "otter")
    assert failure_block(plan, failure(plan)).endswith(
        f"  resume      launch resume {plan.run.root}\n"
        "              starts your trainer again, which has to find its own checkpoint\n\n"
    )


def test_an_attempt_after_the_first_says_where_it_goes_on_and_how_far_the_run_had_come(plan: Plan) -> None:
    write_metrics(plan, "trainer", {"step": 72, "loss": 0.2}, {"step": 73, "loss": 0.2})
    assert resume_note(plan) == "there is no checkpoint: begins at step 1; step 73 had been reached"
    plan.run.checkpoint(50).mkdir(parents=True)
    assert resume_note(plan) == "continues from step 50; step 73 had been reached"
    plan.run.checkpoint(73).mkdir(parents=True)
    assert resume_note(plan) == "continues from step 73"
    assert resume_note(replace(plan, run=plan.run.of(1))) is None


def test_a_component_without_ranks_is_named_alone(plan: Plan) -> None:
    assert failure_block(plan, failure(plan, component="inference", rank=None)).startswith("FAILED  inference: SIGSEGV")


def test_a_failure_without_words_says_so_and_claims_no_collateral(plan: Plan) -> None:
    block = failure_block(plan, failure(plan, cause=""))
    assert "  it left no words of its own\n" in block
    assert "collateral" not in block
    assert "  log " not in block


@pytest.mark.parametrize("name", ["a b", "it's", "$(touch pwned)", "ü\nx", "a\x1b[2J\u202e\n"])
def test_the_command_that_is_to_be_typed_survives_the_shell(tmp_path: Path, name: str) -> None:
    plan = plan_of(sft(), root=tmp_path / name)
    plan.run.checkpoint(1).mkdir(parents=True)
    block = failure_block(plan, failure(plan))
    command = block[block.index("launch resume") :].strip().replace("launch", "printf %s,", 1)
    typed = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True).stdout
    assert typed == f"resume,{plan.run.root},"


def test_run_json_keeps_the_failure_with_its_block(plan: Plan) -> None:
    kept = failure_state(plan, failure(plan, collateral=("inference",)))
    assert kept
    assert (kept.component, kept.rank, kept.what, kept.collateral) == ("trainer", 1, "SIGSEGV", ["inference"])
    assert kept.text == failure_block(plan, failure(plan, collateral=("inference",)))
    assert failure_state(plan, None) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (42.4, "42s"), (59.6, "1m 00s"), (187, "3m 07s"), (3599.7, "1h 00m"), (7500, "2h 05m")],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_block_says_whether_the_run_is_restarted_if_that_was_asked_for(plan: Plan) -> None:
    assert "  verdict     no restart: why\n" in failure_block(plan, failure(plan), "no restart: why")
    assert "verdict" not in failure_block(plan, failure(plan))
