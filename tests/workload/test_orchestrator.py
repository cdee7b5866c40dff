import json
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from launcher.checkpoints import steps_in
from launcher.rundir import RunDir
from launcher.tracking.samples import read_samples, samples_file
from launcher.workload.files import appearing
from launcher.workload.metric_names import ORCHESTRATOR
from launcher.workload.rollout.handover import has_batch, make_batch, read_batch, sample_of, write_batch
from tests.several_nodes import free_port
from tests.waiting import until
from tests.workload import running
from tests.workload.running import TINY_MODEL, finished, serving, started, tiny

SMALL = ("--prompts-per-step", 2, "--samples-per-prompt", 3, "--evaluation.prompts", 4, "--max-steps", 3, *TINY_MODEL)


def publish(run: RunDir, step: int) -> None:
    """What the trainer does after an update."""
    with appearing(run.weights(step)) as draft:
        running.publish(tiny(seed=step), draft, attempt=run.attempt, step=step)


def metrics(run: RunDir) -> list[dict[str, float]]:
    return [json.loads(line) for line in run.metrics("orchestrator").read_text().splitlines()]


def wait_for_batch(run: RunDir, step: int, process: "subprocess.Popen[str]") -> None:
    until(lambda: has_batch(run, step) or process.poll() is not None)
    assert has_batch(run, step)


@pytest.mark.parametrize("max_async", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_batch_is_sampled_by_a_policy_that_lags_at_most_max_async_updates(tmp_path: Path, max_async: int) -> None:
    run = RunDir(tmp_path)
    arguments = ("--output-dir", tmp_path, "--max-async", max_async, *SMALL)
    with serving() as (url, engine), started("orchestrator", *arguments, "--inference-url", url) as process:
        for policy_step in range(3 - max_async):
            publish(run, policy_step)
            newest = policy_step + 1 + max_async
            wait_for_batch(run, newest, process)
            assert engine.step == policy_step and not run.rollout(newest + 1).exists()
            assert set(read_batch(run, newest).policy_steps) == {policy_step}
        publish(run, 3)
        output, _ = process.communicate(timeout=240)
        assert process.returncode == 0, output
    assert engine.step == 3
    lines = metrics(run)
    assert [line["step"] for line in lines] == [0, 1, 2, 3, 3]
    evaluated = {name for name in ORCHESTRATOR if name.startswith("evaluation/")}
    assert lines[0].keys() == lines[-1].keys() == {"step", "time", *evaluated}
    assert {name for line in lines for name in line} - {"step", "time"} == ORCHESTRATOR.keys()


def reward(prompt: list[dict[str, str]], completion: str, answer: list[str]) -> float:
    """Of the task below: how many letters the completion has, if the prompt is a chat."""
    assert prompt[0]["role"] == "user" and answer == ["x"]
    return float(len(completion))


def test_a_file_of_chats_with_a_function_as_reward_and_a_set_to_evaluate_on(tmp_path: Path) -> None:
    run, file = RunDir(tmp_path / "run"), tmp_path / "chats.jsonl"
    chats = [[{"role": "user", "content": letter}] for letter in "abcdefghijkl"]
    file.write_text("".join(json.dumps({"messages": chat, "answer": ["x"]}) + "\n" for chat in chats))
    publish(run, 0)
    task = ("--task.name", file, "--task.reward", f"{__name__}:reward", "--resample", 1, "--advantage", "mean")
    more = ("--evaluation.samples", 2, "--evaluation.sets", f"again={file}", "--evaluation.prompts", 12)
    with serving() as (url, _):
        arguments = ("--output-dir", run.root, "--inference-url", url, *SMALL, *task, *more, "--weights-timeout", "1s")
        output = finished("orchestrator", *arguments, exit_code=1)
    assert "no weights of step 1" in output, output
    first, step = metrics(run)[:2]
    assert first["evaluation/reward"] > 0 and first["evaluation/again/reward"] > 0
    assert step["reward/failed"] == 0
    batch = read_batch(run, 1)
    assert len(batch.lengths) == 6 and abs(float(batch.advantages.sum())) < 1e-4
    rows = read_samples(samples_file(run.samples("orchestrator"), 1))
    assert [row["reward"] for row in rows] == [len(row["completion"]) for row in rows]
    assert all(row["prompt"].startswith("user: ") for row in rows)


def test_a_prompt_that_leaves_no_room_for_its_completion_ends_the_run_at_the_start(tmp_path: Path) -> None:
    file = tmp_path / "problems.jsonl"
    prompts = [*"abcdefghijkl", "long " * 6]  # 30 bytes and the first token, of 32
    file.write_text("".join(json.dumps({"prompt": prompt, "answer": "x"}) + "\n" for prompt in prompts))
    publish(RunDir(tmp_path / "run"), 0)
    with serving() as (url, engine):
        arguments = ("--output-dir", tmp_path / "run", "--inference-url", url, "--task.name", file, *SMALL)
        output = finished("orchestrator", *arguments, exit_code=1)
        assert engine.step == 0 and "evaluation after" not in output
    assert "the prompt 'long long" in output and "it has 31 tokens, its completion may have 8" in output
    assert "context is 32" in output and "--orchestrator.sampling.max-tokens" in output and "Traceback" not in output


def test_a_server_that_comes_back_gets_the_newest_weights_before_it_is_asked_again(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    with ExitStack() as first_server:
        port = free_port()
        url, _ = first_server.enter_context(serving(port=port))
        arguments = ("--output-dir", tmp_path, "--max-async", 0, "--inference-url", url, *SMALL)
        with started("orchestrator", *arguments) as process:
            publish(run, 0)
            wait_for_batch(run, 1, process)
            first_server.close()
            publish(run, 1)
            assert process.stdout
            until(lambda: "went away" in process.stdout.readline())
            publish(run, 2)
            with serving(port=port) as (_, engine):
                wait_for_batch(run, 2, process)
                assert engine.step == 2 and set(read_batch(run, 2).policy_steps) == {2}
                wait_for_batch(run, 3, process)
                publish(run, 3)
                output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert f"inference at {url} is back, with the weights of step 2" in output


def test_a_server_that_does_not_come_back_is_given_up_after_its_time(tmp_path: Path) -> None:
    with ExitStack() as server:
        url, _ = server.enter_context(serving())
        arguments = ("--output-dir", tmp_path, "--inference-url", url, "--inference-timeout", "1s", *SMALL)
        with started("orchestrator", *arguments) as process:
            until(lambda: process.stdout and "is ready" in process.stdout.readline())
            server.close()
            publish(RunDir(tmp_path), 0)
            output, _ = process.communicate(timeout=240)
    assert process.returncode == 1
    assert "was not ready after 1 s" in output and "Traceback" not in output


def test_a_later_attempt_goes_on_after_the_checkpoint_and_removes_stale_batches(tmp_path: Path) -> None:
    run = RunDir(tmp_path, attempt=2)
    run.checkpoint(2).mkdir(parents=True)
    for stale in (2, 3, 4):
        write_batch(RunDir(tmp_path, attempt=1), stale, make_batch([sample_of([1], [2], [-1.0], 0)], [0.0], 1.0))
    publish(run, 2)
    with serving() as (url, _):
        arguments = ("--output-dir", tmp_path, "--attempt", 2, "--inference-url", url, *SMALL)
        with started("orchestrator", *arguments) as process:
            wait_for_batch(run, 3, process)
            assert steps_in(run.rollouts) == [3]
            publish(run, 3)
            output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert [line["step"] for line in metrics(run)] == [3, 3]


def test_sigterm_ends_it_at_once_without_a_traceback(tmp_path: Path) -> None:
    with serving() as (url, _), started("orchestrator", "--output-dir", tmp_path, "--inference-url", url) as process:
        until(lambda: process.stdout and "is ready" in process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=240)
    assert process.returncode == 143
    assert "asked to end" in output and "Traceback" not in output


def test_weights_that_do_not_come_point_to_the_trainer(tmp_path: Path) -> None:
    with serving() as (url, _):
        arguments = ("--output-dir", tmp_path, "--inference-url", url, "--weights-timeout", "0.1s")
        output = finished("orchestrator", *arguments, exit_code=1)
    assert "no weights of step 0 after 0.1 s" in output and "trainer" in output and "Traceback" not in output


def test_without_a_server_it_says_what_to_type(tmp_path: Path) -> None:
    output = finished("orchestrator", "--output-dir", tmp_path, exit_code=1)
    assert "--inference-url" in output and "Traceback" not in output
