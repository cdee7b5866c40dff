"""What every section has in common: durations, inheritance, refusal of what it does not know."""

import copy

import pytest
from pydantic import BaseModel, ValidationError

from launcher.config.base import Duration, merge
from launcher.config.run import SFTConfig
from launcher.config.toml import to_toml
from launcher.config.wandb import LogExtrasConfig, WandbConfig


class Waiting(BaseModel):
    wait: Duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30.0),
        ("10m", 600.0),
        ("1h30m", 5400.0),
        ("1h 30m", 5400.0),
        ("250ms", 0.25),
        ("1.5d", 129600.0),
        ("12", 12.0),
        (7, 7.0),
        (0.5, 0.5),
    ],
)
def test_a_duration_is_seconds_in_any_usual_writing(text: object, seconds: float) -> None:
    assert Waiting.model_validate({"wait": text}).wait == seconds


@pytest.mark.parametrize("text", ["1h30m", "90m", "1h 30m", "0.5s"])
def test_a_duration_is_written_as_it_was_typed(text: str) -> None:
    first = SFTConfig.model_validate({"grace": f" {text}", "watchdog": text})
    handed_on = SFTConfig.model_validate({"grace": first.grace, "watchdog": copy.deepcopy(first).watchdog})
    for config in (first, handed_on):
        assert f'grace = "{text}"' in to_toml(config) and f'watchdog = "{text}"' in to_toml(config)


@pytest.mark.parametrize("seconds", [30, 0.5, "12"])
def test_a_duration_that_was_typed_as_a_number_stays_one(seconds: object) -> None:
    assert f"grace = {float(str(seconds))}\n" in to_toml(SFTConfig.model_validate({"grace": seconds}))


@pytest.mark.parametrize("text", ["", "soon", "10x", "s", "1h30", "30 s s", "--", "1m!", [30]])
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(ValidationError):
        Waiting.model_validate({"wait": text})


def test_a_section_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        WandbConfig().project = "other"


def test_a_section_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValidationError, match="extra_forbidden"):
        WandbConfig.model_validate({"projekt": "x"})


def test_a_later_layer_wins_and_tables_are_merged() -> None:
    below = {"a": 1, "table": {"x": 1, "y": 1}}
    assert merge(below, {"table": {"y": 2, "z": 2}}) == {"a": 1, "table": {"x": 1, "y": 2, "z": 2}}
    assert below == {"a": 1, "table": {"x": 1, "y": 1}}


def test_lists_are_replaced_and_not_joined() -> None:
    assert merge({"tags": ["a"]}, {"tags": ["b"]}) == {"tags": ["b"]}


def test_own_settings_win_over_general_ones_field_by_field() -> None:
    general = WandbConfig(enabled=True, project="ours", log_extras=LogExtrasConfig(interval=5, samples=False))
    own = WandbConfig(log_extras=LogExtrasConfig(interval=50))

    merged = own.over(general)

    assert (merged.enabled, merged.project) == (True, "ours")
    assert (merged.log_extras.interval, merged.log_extras.samples) == (50, False)


def test_a_default_that_is_set_on_purpose_wins_over_a_general_setting() -> None:
    assert WandbConfig(project="prime-rl").over(WandbConfig(project="ours")).project == "prime-rl"
