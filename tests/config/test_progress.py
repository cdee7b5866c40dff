"""Regular expressions that turn log lines into metrics."""

import pytest

from launcher.config.progress import headline
from launcher.errors import UserError
from tests.plans import plan_of, rl, sft

PATTERN = r"step (?P<step>\d+) loss (?P<loss>[\d.]+) acc (?P<accuracy>[\d.]+)"


def own(pattern: str, *more: str) -> tuple[str, ...]:
    return ("--trainer.module", "m", "--trainer.progress", pattern, *more)


def test_the_first_name_beside_step_says_how_the_run_is_doing() -> None:
    assert headline(PATTERN) == "loss"
    assert headline(PATTERN, "accuracy") == "accuracy"
    assert headline(r"(?P<step>\d+)") == "step"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (own("(?P<step>"), "not a regular expression"),
        (own(r"step \d+"), "names no metric"),
        (own(PATTERN, "--trainer.progress-metric", "los"), "progress_metric = 'los': progress names only step, loss"),
        (("--trainer.progress", PATTERN), "progress is for your own program"),
    ],
)
def test_what_gives_no_progress_is_refused(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        sft(*arguments)


def test_the_plan_follows_the_component_whose_progress_is_read() -> None:
    progress = plan_of(rl(*own(PATTERN, "--trainer.progress-total", "9"))).progress
    assert (progress.component, progress.metric, progress.max_steps) == ("trainer", "loss", 9)
    assert plan_of(sft(*own(PATTERN))).progress.max_steps is None
