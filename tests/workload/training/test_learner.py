import pytest

from launcher.config.training import OptimizerConfig, Schedule
from launcher.workload.training.learner import share_of_rate


@pytest.mark.parametrize(
    ("schedule", "shares"),
    [
        ("constant", [0.5, 1, 1, 1, 1, 1]),
        ("linear", [0.5, 1, 1, 0.75, 0.5, 0.25]),
        ("cosine", [0.5, 1, 1, 0.853553, 0.5, 0.146447]),
    ],
)
def test_the_rate_warms_up_and_then_follows_the_schedule(schedule: Schedule, shares: list[float]) -> None:
    wanted = OptimizerConfig(warmup_steps=2, schedule=schedule)
    assert [share_of_rate(step, 6, wanted) for step in range(1, 7)] == pytest.approx(shares, abs=1e-6)


def test_without_a_warm_up_the_first_update_has_the_whole_rate() -> None:
    assert share_of_rate(1, 5, OptimizerConfig(warmup_steps=0, schedule="linear")) == 1
