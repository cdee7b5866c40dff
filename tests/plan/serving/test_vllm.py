"""Which engine generates, and the command line of vLLM."""

import sys
import tomllib
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from launcher.config.serving import INFERENCE_TOKEN
from launcher.errors import UserError
from launcher.machine.probe import check_programs
from launcher.plan.memory import ModelSize
from launcher.plan.render import render
from launcher.plan.spec import Machine, Plan
from tests.plans import component, machine, plan_of, plan_on_node, rl

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


def test_where_vllm_may_run_on_the_cpu_and_the_model_have_experts_its_worker_is_ours() -> None:
    dense = ModelSize(1, 8, 2, 2, 4, inner=16, all_inner=16, matrices=3, vocabulary=64, positions=0, is_tied=True)
    experts = replace(dense, inner=32, all_inner=128)

    def worker(gpus: int, size: ModelSize | None, name: str = "acme/model") -> bool:
        asked = rl("--model", name, "--inference.engine", "vllm")
        argv = component(plan_of(asked, replace(has_vllm(gpus), model=size)), "inference").argv
        return ("--worker-cls", "launch_vllm_worker.Worker") in pairwise(argv)

    assert worker(0, experts) and worker(0, None)  # a model that is not here yet
    assert not (worker(0, dense) or worker(0, None, "tiny") or worker(2, experts))


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


def test_the_users_own_variables_stay_but_never_shut_what_launch_needs() -> None:
    own = {
        "PYTHONPATH": "/mine",
        "VLLM_SERVER_DEV_MODE": "0",
        "VLLM_NO_USAGE_STATS": "0",
        "VLLM_LOGGING_LEVEL": "DEBUG",
    }
    plan = plan_of(rl(*QWEN, *(f"--inference.env={name}={value}" for name, value in own.items())), has_vllm())
    env = component(plan, "inference").env
    assert env["PYTHONPATH"] == "/launcher/vllm_access:/mine" and env["VLLM_SERVER_DEV_MODE"] == "1"
    assert env["VLLM_NO_USAGE_STATS"] == "0" and env["VLLM_LOGGING_LEVEL"] == "DEBUG"


def test_vllm_that_is_not_there_is_planned_and_says_at_the_start_where_it_may_come_from(tmp_path: Path) -> None:
    plan = plan_of(rl("--inference.engine", "vllm"), machine(cwd=tmp_path, python=sys.executable))
    assert component(plan, "inference").argv[:2] == ("vllm", "serve")
    with pytest.raises(UserError, match="inference: the program vllm cannot be found") as refused:
        check_programs(plan, {"PATH": "/usr/bin:/bin"})
    assert "--inference.python" in str(refused.value)


def test_the_nodes_of_a_run_do_not_each_choose_their_own_engine() -> None:
    nodes = ("--nnodes", "2", "--node-rank", "0", "--rdzv-endpoint", "a:29500", "--output-dir", "/shared/otter")
    facts = {"vllm": "/vllm/bin/vllm", "model_path": "Qwen/Qwen3-0.6B"}
    with pytest.raises(UserError, match="nodes of a run must agree on the engine"):
        plan_on_node(rl(*QWEN, *nodes), **facts)
    assert engine(plan_on_node(rl(*QWEN, *nodes, "--inference.engine", "builtin"), **facts)) == "builtin"


ONLY_VLLM = {"tensor-parallel": "2", "data-parallel": "2", "max-model-len": "99", "gpu-memory": "0.5", "python": "py"}


@pytest.mark.parametrize("option", ONLY_VLLM)
def test_what_only_vllm_knows_is_refused_for_the_builtin_engine(option: str) -> None:
    with pytest.raises(UserError, match=f"inference.{option.replace('-', '_')} is for vLLM, but the engine is builtin"):
        plan_of(rl(f"--inference.{option}", ONLY_VLLM[option]), has_vllm())


def test_a_batch_of_the_builtin_server_is_refused_for_vllm() -> None:
    with pytest.raises(UserError, match=r"max_batch is for the builtin engine[^$]*--max-num-seqs=N"):
        plan_of(rl(*QWEN, "--inference.max-batch", "8"), has_vllm())


def test_what_an_own_server_would_never_see_is_refused() -> None:
    own = ("--inference.command=vllm", "--inference.command=serve", "--inference.engine", "vllm")
    with pytest.raises(UserError, match=r"inference\.max_model_len is for a vLLM that launch starts"):
        plan_of(rl(*own, "--inference.max-model-len", "99"))


def test_an_own_server_that_is_a_vllm_is_spoken_to_as_one() -> None:
    own = ("--inference.command=vllm", "--inference.command=serve")
    assert engine(plan_of(rl(*own, "--inference.engine", "vllm"))) == "vllm"
    assert engine(plan_of(rl(*own, "--inference.takes-weights"))) == "builtin"
    with pytest.raises(UserError, match="sends new weights to the server"):
        rl(*own)
    elsewhere = ("--no-inference", "--orchestrator.inference-url", "http://gpu7:8000", "--inference.engine", "vllm")
    assert engine(plan_of(rl(*elsewhere))) == "vllm"
