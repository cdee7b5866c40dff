import json
from typing import Any

from launcher.plan.spec import Machine, OnHub
from tests.plans import component, machine, plan_of, rl, sft

QWEN = OnHub("model", "Qwen/Qwen3-0.6B")


def on(path: str, **facts: Any) -> Machine:
    return machine(model_path=path, vllm="/vllm/bin/vllm", **facts)


def test_trainer_and_server_read_a_model_of_the_hub_and_a_directory_is_none() -> None:
    plan = plan_of(rl("--model", "Qwen/Qwen3-0.6B"), on("Qwen/Qwen3-0.6B"))
    assert {spec.name: spec.on_hub for spec in plan.processes} == {
        "trainer": (QWEN,),
        "orchestrator": (),
        "inference": (QWEN,),
    }
    plan = plan_of(rl("--model", "mine"), on("/home/me/mine"))
    assert not any(spec.on_hub for spec in plan.processes)


def test_the_trainer_reads_the_data_set_that_it_learns() -> None:
    data = ("--trainer.data.dataset", "acme/pairs", "--trainer.data.subset", "small")
    (wanted,) = component(plan_of(sft(*data)), "trainer").on_hub
    assert wanted.kind == "dataset" and json.loads(wanted.asked) == ["acme/pairs", "small", "train"]


def test_what_a_program_of_the_users_own_reads_is_its_own_matter() -> None:
    plan = plan_of(sft("--trainer.script", "train.py", "--trainer.data.dataset", "acme/pairs"), on("Qwen/Qwen3-0.6B"))
    assert component(plan, "trainer").on_hub == ()
