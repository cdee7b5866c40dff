"""Every number that a user may set has a bound, and what is beyond it is refused before anything starts."""

from typing import Any

import pytest

from launcher.config.base import LONGEST_DURATION, Section
from launcher.config.run import RLConfig, SFTConfig
from launcher.errors import UserError
from launcher.options.fields import ConfigField, Form, config_fields
from launcher.options.flags import flag_of
from launcher.plan.rendezvous import plan_nodes
from tests.plans import typed

NUMBERS = {"INTEGER", "NUMBER", "DURATION", "RANK[,RANK]"}
BEYOND = {"INTEGER": ["1" + "0" * 25, "9" * 5000], "NUMBER": ["inf", "nan", "1e400"], "RANK[,RANK]": ["1" + "0" * 25]}
TOO_LONG = ["5000000000s", "46297d", "4e9", "inf", "nan", "1e400", "9" * 5000 + "h"]


def options(model: type[Section], *metavars: str) -> list[ConfigField]:
    return [field for field in config_fields(model) if field.metavar in metavars]


def refusal(model: type[Section], option: str, value: str) -> str:
    with pytest.raises(UserError) as caught:
        typed(model, f"--{option}", value)
    return caught.value.message


@pytest.mark.parametrize("model", [SFTConfig, RLConfig])
def test_a_duration_that_no_timer_takes_is_refused_with_the_longest_that_is_allowed(model: type[Section]) -> None:
    found = options(model, "DURATION")
    assert len(found) > 9
    for field in found:
        for value in TOO_LONG:
            message = refusal(model, field.option, value)
            assert f"{flag_of(field.path)} {value}: too long; a duration is at most {LONGEST_DURATION}" in message


def test_the_longest_duration_is_allowed() -> None:
    config: Any = typed(RLConfig, "--grace", LONGEST_DURATION, "--watchdog", LONGEST_DURATION)
    assert config.grace == config.watchdog == 46296 * 86400.0


@pytest.mark.parametrize("model", [SFTConfig, RLConfig])
def test_any_other_number_beyond_all_measure_is_refused(model: type[Section]) -> None:
    found = options(model, *BEYOND)
    assert len(found) > 20
    assert {"nproc", "max-restarts", "port"} <= {field.option.rsplit(".")[-1] for field in options(RLConfig, "INTEGER")}
    for field in found:
        for value in BEYOND[field.metavar]:
            assert f"{flag_of(field.path)} {value}: " in refusal(model, field.option, value)


def test_every_option_that_takes_a_number_says_so() -> None:
    """By which the tests above find it."""
    for model in (SFTConfig, RLConfig):
        for field in config_fields(model):
            if field.shape is not Form.FLAG and isinstance(field.default, (int, float)):
                assert field.metavar in NUMBERS, field


@pytest.mark.parametrize(
    "options",
    [
        ("--nnodes", "1" + "0" * 25),
        ("--nnodes", "9" * 5000),
        ("--nnodes", "1:" + "9" * 5000),
        ("--nnodes", "x:2"),
        ("--nnodes", "1:2:3"),
        ("--nnodes", "2", "--node-rank", "0", "--rdzv-endpoint", "h:65536"),
        ("--nnodes", "2", "--node-rank", "0", "--rdzv-endpoint", "h:" + "9" * 5000),
        ("--slurm.gpus-per-node", "1" + "0" * 25),
        ("--slurm.gpus-per-node", "a100:" + "9" * 5000),
        ("--slurm.time", "9" * 400 + "-1"),
        ("--slurm.nodes", "9" * 5000),
        ("--slurm", "--grace", "20h"),
    ],
    ids=lambda options: " ".join(options)[:40],
)
def test_numbers_within_a_text_have_bounds_too(options: tuple[str, ...]) -> None:
    with pytest.raises(UserError):
        plan_nodes(typed(SFTConfig, *options))


def test_a_number_of_a_file_that_is_none_is_refused() -> None:
    from launcher.options.layer import Layer
    from launcher.options.load import load

    for values in (
        {"grace": float("inf")},
        {"grace": 10**400},
        {"slurm": {"nodes": float("inf")}},
        {"max_steps": 1e300},
    ):
        with pytest.raises(UserError):
            load(SFTConfig, [Layer(values)])
