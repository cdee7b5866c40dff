import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

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
    assert [spec.model_directory for spec in plan.processes] == [Path("/home/me/mine"), None, Path("/home/me/mine")]


@pytest.mark.parametrize("kind", ["rl", "sft"])
def test_a_run_that_is_started_from_is_kept_as_the_checkpoint_that_it_had(kind: str) -> None:
    newest = "/here/outputs/otter/checkpoints/step_10"
    plan = plan_of((rl if kind == "rl" else sft)("--model", "outputs/otter"), on(newest))
    models = {path.name: tomllib.loads(text) for path, text in plan.files}
    assert models["config.toml"]["trainer"]["model"]["name"] == newest  # which a resume reads
    assert models["trainer.toml"]["model"]["name"] == newest


def test_a_model_that_is_no_run_is_kept_as_it_was_named() -> None:
    for named, found in (("mine", "/here/mine"), ("a/checkpoints/step_3", "/here/a/checkpoints/step_3")):
        files = {path.name: text for path, text in plan_of(sft("--model", named), on(found)).files}
        assert tomllib.loads(files["config.toml"])["trainer"]["model"]["name"] == named


def test_without_the_hub_what_reads_from_it_is_told_to_take_the_cache_and_so_is_the_user() -> None:
    away = on("Qwen/Qwen3-0.6B", without_hub="the hub cannot be reached")
    plan = plan_of(rl("--model", "Qwen/Qwen3-0.6B"), away)
    assert [spec.env.get("HF_HUB_OFFLINE") for spec in plan.processes] == ["1", "1", "1"]
    assert plan.notes[-1] == "the hub cannot be reached"
    plan = plan_of(rl("--model", "Qwen/Qwen3-0.6B", "--orchestrator.script", "mine.py"), away)
    assert "HF_HUB_OFFLINE" not in component(plan, "orchestrator").env
    plan = plan_of(sft("--trainer.env", "HF_HUB_OFFLINE=0"), away)
    assert component(plan, "trainer").env["HF_HUB_OFFLINE"] == "0"


def test_the_trainer_reads_the_data_set_that_it_learns() -> None:
    data = ("--trainer.data.dataset", "acme/pairs", "--trainer.data.subset", "small")
    (wanted,) = component(plan_of(sft(*data)), "trainer").on_hub
    assert wanted.kind == "dataset" and json.loads(wanted.asked) == ["acme/pairs", "small", "train"]


def test_what_a_program_of_the_users_own_reads_is_its_own_matter() -> None:
    plan = plan_of(sft("--trainer.script", "train.py", "--trainer.data.dataset", "acme/pairs"), on("Qwen/Qwen3-0.6B"))
    assert component(plan, "trainer").on_hub == ()
