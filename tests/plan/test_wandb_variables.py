"""W&B's own variables, for programs that know nothing of us."""

import pytest

from tests.plans import component, machine, plan_of, rl, sft


def test_a_foreign_program_gets_wandbs_own_variables_with_the_components_suffix() -> None:
    own = ("--orchestrator.module", "m", "--wandb.tags", "a", "--wandb.tags", "b")
    on = machine(run_id="r7", wandb_login=True)
    env = component(plan_of(rl("--wandb.project", "p", *own), on), "orchestrator").env
    assert {name: value for name, value in env.items() if name.startswith("WANDB")} == {
        "WANDB_PROJECT": "p",
        "WANDB_NAME": "otter-orchestrator",
        "WANDB_RUN_GROUP": "otter",
        "WANDB_JOB_TYPE": "orchestrator",
        "WANDB_RUN_ID": "r7-orchestrator",
        "WANDB_DIR": "/runs/otter",
        "WANDB_TAGS": "a,b",
        "WANDB_RESUME": "allow",
    }


@pytest.mark.parametrize("arguments", [("--trainer.module", "m"), ("--wandb",)], ids=["W&B is off", "reference"])
def test_nobody_else_gets_them(arguments: tuple[str, ...]) -> None:
    env = component(plan_of(rl(*arguments)), "trainer").env
    assert not [name for name in env if name.startswith("WANDB")]


def test_a_variable_that_was_typed_wins() -> None:
    config = sft("--wandb", "--trainer.module", "m", "--trainer.env", "WANDB_NAME=mine")
    assert component(plan_of(config), "trainer").env["WANDB_NAME"] == "mine"
