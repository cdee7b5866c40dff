import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher.errors import UserError
from launcher.plan.spec import Machine, OnHub
from tests.plan.test_memory import QWEN3_8B
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


def test_the_trainer_reads_the_data_set_that_it_learns() -> None:
    data = ("--trainer.data.dataset", "acme/pairs", "--trainer.data.subset", "small")
    (wanted,) = component(plan_of(sft(*data)), "trainer").on_hub
    assert wanted.kind == "dataset" and json.loads(wanted.asked) == ["acme/pairs", "small", "train"]


def test_what_a_program_of_the_users_own_reads_is_its_own_matter() -> None:
    plan = plan_of(sft("--trainer.script", "train.py", "--trainer.data.dataset", "acme/pairs"), on("Qwen/Qwen3-0.6B"))
    assert component(plan, "trainer").on_hub == ()


def test_a_batch_that_is_too_small_for_the_ranks_is_refused() -> None:
    plan_of(sft("--nproc", "4", "--trainer.batch-size", "4"))
    with pytest.raises(UserError, match=r"--trainer.batch-size 3 is too small for 4 ranks"):
        plan_of(sft("--nproc", "4", "--trainer.batch-size", "3"))
    step = ("--orchestrator.prompts-per-step", "1", "--orchestrator.samples-per-prompt")
    plan_of(rl("--nproc", "4", *step, "4"))
    with pytest.raises(UserError, match=r"a step has 3 samples .* too few for 4 ranks"):
        plan_of(rl("--nproc", "4", *step, "3"))


def test_a_completion_that_leaves_no_room_for_a_prompt_is_refused() -> None:
    here = on("/here/mine", model=replace(QWEN3_8B, context=512))
    plan_of(rl("--model", "mine", "--orchestrator.sampling.max-tokens", "511"), here)
    with pytest.raises(UserError, match=r"max_tokens = 512 leaves no room for a prompt in the context of mine: 512"):
        plan_of(rl("--model", "mine", "--orchestrator.sampling.max-tokens", "512"), here)
