"""What the processes of an RL run hand to each other: batches one way, weights the other.

    orchestrator ── rollouts/step_N.safetensors ──▶ trainer ── weights/step_N/ ──▶ inference

Batch N is what update N learns from; weights N are the policy after N updates. Both carry the attempt that wrote them,
and a reader takes no notice of those of another attempt. Each writer removes what is stale when it starts.
"""

import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from launcher.borders.files import read_bytes
from launcher.rundir import RunDir
from launcher.workload.files import appearing
from launcher.workload.tokens import END

ATTEMPT = "attempt"  # the key under which both say who wrote them


@dataclass(frozen=True)
class Sample:
    """A completion of a prompt, with the log-probability that each of its tokens was sampled with."""

    prompt: list[int]  # with END in front
    completion: list[int]
    logprobs: list[float]


@dataclass(frozen=True)
class Batch:
    """What one update learns from: N samples, padded with END to one length T."""

    tokens: NDArray[np.int32]  # (N, T) prompt and completion
    loss_mask: NDArray[np.bool_]  # (N, T) true for the tokens of the completion
    logprobs: NDArray[np.float32]  # (N, T) with which they were sampled, 0 elsewhere
    advantages: NDArray[np.float32]  # (N,)
    policy_step: int  # updates of the policy that sampled them
    temperature: float


def make_batch(samples: list[Sample], advantages: list[float], policy_step: int, temperature: float) -> Batch:
    """Pad the samples; `advantages` has one value for each."""
    size = (len(samples), max(len(sample.prompt) + len(sample.completion) for sample in samples))
    tokens = np.full(size, END, np.int32)
    loss_mask, logprobs = np.zeros(size, np.bool_), np.zeros(size, np.float32)
    for row, sample in enumerate(samples):
        start, end = len(sample.prompt), len(sample.prompt) + len(sample.completion)
        tokens[row, :end] = sample.prompt + sample.completion
        loss_mask[row, start:end] = True
        logprobs[row, start:end] = sample.logprobs
    return Batch(tokens, loss_mask, logprobs, np.array(advantages, np.float32), policy_step, temperature)


def write_batch(run: RunDir, step: int, batch: Batch) -> None:
    arrays = {
        "tokens": batch.tokens,
        "loss_mask": batch.loss_mask,
        "logprobs": batch.logprobs,
        "advantages": batch.advantages,
    }
    about = {ATTEMPT: run.attempt, "policy_step": batch.policy_step, "temperature": batch.temperature}
    with appearing(run.rollout(step)) as draft:
        save_file(arrays, draft, {name: str(value) for name, value in about.items()})


def has_batch(run: RunDir, step: int) -> bool:
    """Whether this attempt has written the batch for one update."""
    try:
        with safe_open(run.rollout(step), "numpy") as file:
            return int(file.metadata()[ATTEMPT]) == run.attempt
    except FileNotFoundError:
        return False


def read_batch(run: RunDir, step: int) -> Batch:
    """The batch for one update, which must be there."""
    path = run.rollout(step)
    with safe_open(path, "numpy") as file:
        about = file.metadata()
    return Batch(**load_file(path), policy_step=int(about["policy_step"]), temperature=float(about["temperature"]))


# --- weights ----------------------------------------------------------------------------------------------------------


def has_weights(run: RunDir, step: int) -> bool:
    """Whether this attempt has published the policy after `step` updates."""
    try:
        return bool(json.loads(read_bytes(run.weights(step) / "config.json"))[ATTEMPT] == run.attempt)
    except FileNotFoundError:
        return False


def newest_weights(run: RunDir, oldest: int, newest: int) -> int | None:
    """The newest step, from `oldest` to `newest`, whose weights are published; None while there are none."""
    return next((step for step in range(newest, oldest - 1, -1) if has_weights(run, step)), None)
