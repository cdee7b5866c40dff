"""Which engine generates, and the command line of vLLM."""

import tomllib
from pathlib import Path

import pytest

from launcher.config.serving import INFERENCE_TOKEN
from launcher.errors import UserError
from launcher.plan.render import render
from launcher.plan.spec import Machine, Plan
from tests.plans import component, machine, plan_of, rl

QWEN = ("--model", "Qwen/Qwen3-0.6B")


def has_vllm(gpus: int = 0, model: str = "Qwen/Qwen3-0.6B", **facts: object) -> Machine:
    return machine(gpus, vllm="/vllm/bin/vllm", model_path=model, **facts)


def engine(plan: Plan) -> str:
    text = next(text for path, text in plan.files if path.name == "orchestrator.toml")
    return str(tomllib.loads(text)["engine"])


def test_tiny_is_served_by_the_builtin_engine_and_other_models_by_vllm_where_it_is_installed() -> None:
    assert engine(plan_of(rl(), has_vllm())) == "builtin"
    plan = plan_of(rl(*QWEN), has_vllm())
    assert engine(plan) == "vllm" and component(plan, "inference").argv[0] == "/vllm/bin/vllm"
    assert any("inference runs /vllm/bin/vllm" in note for note in plan.notes)
    plan = plan_of(rl(*QWEN), machine())
    assert engine(plan) == "builtin" and "launcher.workload.inference" in component(plan, "inference").argv
    assert any("since there is no vllm command" in note for note in plan.notes)


def test_a_choice_that_the_user_made_is_not_explained() -> None:
    for name in ("builtin", "vllm"):
        plan = plan_of(rl(*QWEN, "--inference.engine", name), has_vllm())
        assert engine(plan) == name and not any("vllm" in note for note in plan.notes)


def test_vllm_is_started_with_what_was_asked_for_and_the_users_own_words_come_last() -> None:
    sizes = ("--inference.tensor-parallel", "2", "--inference.data-parallel", "3", "--inference.max-model-len", "4096")
    more = ("--inference.gpu-memory", "0.8", "--trainer.model.dtype", "bfloat16", "--inference.args=--seed")
    plan = plan_of(rl(*QWEN, *sizes, *more, "--inference.args", "{nproc}"), has_vllm(8, model="/models/qwen"))
    spec = component(plan, "inference")
    assert spec.argv[:3] == ("/vllm/bin/vllm", "serve", "/models/qwen")
    options = dict(zip(spec.argv[3::2], spec.argv[4::2], strict=True))
    assert options == {
        "--served-model-name": "policy",
        "--host": "127.0.0.1",
        "--port": "4321",
        "--dtype": "bfloat16",
        "--logprobs-mode": "processed_logprobs",
        "--generation-config": "vllm",
        "--middleware": "launch_vllm_access.Access",
        "--tensor-parallel-size": "2",
        "--data-parallel-size": "3",
        "--max-model-len": "4096",
        "--gpu-memory-utilization": "0.8",
        "--seed": "2",
    }
    assert spec.ready == "http://127.0.0.1:4321/health" and spec.alive and spec.alive.check == spec.ready
    assert (len(spec.gpus), plan.process("trainer").gpus) == (6, ("0", "1"))  # type: ignore[union-attr]


def test_its_endpoints_for_weights_are_open_to_who_has_the_runs_token() -> None:
    plan = plan_of(rl(*QWEN), has_vllm(inference_token="secret", search_paths={"PYTHONPATH": "/own"}))
    spec = component(plan, "inference")
    assert spec.env["VLLM_SERVER_DEV_MODE"] == "1" and spec.env["PYTHONPATH"] == "/launcher/vllm_access:/own"
    assert spec.env[INFERENCE_TOKEN] == component(plan, "orchestrator").env[INFERENCE_TOKEN] == "secret"
    assert "secret" not in render(plan, Path("/here"), False)


def test_vllm_never_shares_the_trainers_gpus_unasked() -> None:
    with pytest.raises(UserError, match=r"inference\.gpus = 1, and the trainer leaves 0 of 2"):
        plan_of(rl(*QWEN, "--nproc", "2"), has_vllm(2))
    plan = plan_of(rl(*QWEN, "--nproc", "2", "--inference.share-gpus"), has_vllm(2))
    assert component(plan, "inference").gpus == ("1",)


def test_tiny_is_made_before_vllm_starts_and_only_then() -> None:
    plan = plan_of(rl("--inference.engine", "vllm"), has_vllm(model="tiny"))
    command = ("/venv/bin/python", "-m", "launcher.workload.models.tiny", "@", "/runs/otter/configs/inference.toml")
    assert plan.first == (command,) and " ".join(command) in render(plan, Path("/here"), True)
    assert component(plan, "inference").argv[2] == "/runs/otter/model"
    for other in (rl(), rl(*QWEN), rl("--inference.command", "serve", "--inference.engine", "vllm")):
        assert plan_of(other, has_vllm()).first == ()


def test_vllm_that_is_not_there_says_where_it_may_come_from() -> None:
    with pytest.raises(UserError, match="the vllm command is not there") as refused:
        plan_of(rl("--inference.engine", "vllm"), machine())
    assert "--inference.python" in str(refused.value)


ONLY_VLLM = {"tensor-parallel": "2", "data-parallel": "2", "max-model-len": "99", "gpu-memory": "0.5", "python": "py"}


@pytest.mark.parametrize("option", ONLY_VLLM)
def test_what_only_vllm_knows_is_refused_for_the_builtin_engine(option: str) -> None:
    with pytest.raises(UserError, match=f"inference.{option.replace('-', '_')} is for vLLM, but the engine is builtin"):
        plan_of(rl(f"--inference.{option}", ONLY_VLLM[option]), has_vllm())


def test_an_own_server_that_is_a_vllm_is_spoken_to_as_one() -> None:
    own = ("--inference.command=vllm", "--inference.command=serve")
    assert engine(plan_of(rl(*own, "--inference.engine", "vllm"))) == "vllm"
    assert engine(plan_of(rl(*own, "--inference.takes-weights"))) == "builtin"
    with pytest.raises(UserError, match="sends new weights to the server"):
        rl(*own)
    elsewhere = ("--no-inference", "--orchestrator.inference-url", "http://gpu7:8000", "--inference.engine", "vllm")
    assert engine(plan_of(rl(*elsewhere))) == "vllm"
