"""Which component is started after which."""

import pytest

from launcher.config.order import check_order
from launcher.config.run import SFTConfig
from launcher.errors import UserError
from launcher.options.layer import Layer
from launcher.options.load import load
from tests.plans import rl


def test_any_order_without_a_circle_is_fine() -> None:
    check_order({"trainer": ("inference", "data"), "inference": ("data",), "data": ()})


def test_components_that_wait_for_each_other_are_named() -> None:
    with pytest.raises(ValueError, match=r"wait for each other: (a after b after a|b after a after b)"):
        check_order({"a": ("b",), "b": ("a",), "c": ("a",)})


def test_a_component_that_waits_for_itself_is_refused() -> None:
    with pytest.raises(UserError, match="trainer after trainer"):
        rl("--trainer.after", "trainer")


def test_a_component_that_the_run_does_not_start_is_refused_with_those_that_it_starts() -> None:
    elsewhere = ("--no-inference", "--orchestrator.inference-url", "http://x")
    with pytest.raises(UserError, match=r"orchestrator.after = 'inference': .* it has trainer, orchestrator"):
        rl("--orchestrator.after", "inference", *elsewhere)


def test_services_take_part() -> None:
    services = {"a": {"command": ["true"], "after": ["b"]}, "b": {"command": ["true"], "after": ["a"]}}
    with pytest.raises(UserError, match="wait for each other"):
        load(SFTConfig, [Layer({"services": services})])
