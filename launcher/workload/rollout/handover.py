"""What the processes of an RL run hand to each other: batches one way, weights the other.

    orchestrator ── rollouts/step_N.safetensors ──▶ trainer ── weights/step_N/ ──▶ inference

Batch N is what update N learns from; weights N are the policy after N updates. Both carry the attempt that wrote them,
and a reader takes no notice of those of another attempt. Each writer removes what is stale when it starts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from launcher.checkpoints import steps_in
from launcher.rundir import RunDir
from launcher.workload.files import appearing

ATTEMPT = "attempt"  # the key under which both say who wrote them
WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Sample:
    """A sequence of tokens: prompt and completion, of several turns perhaps. Its lists are of one length."""

    tokens: list[int]
    loss_mask: list[bool]  # true for the tokens that the policy sampled
    logprobs: list[float]  # with which they were sampled, 0 elsewhere
    policy_step: int  # updates of the oldest policy that sampled any of them

    @property
    def completion(self) -> list[int]:
        """The sampled tokens."""
        return [token for token, is_sampled in zip(self.tokens, self.loss_mask, strict=True) if is_sampled]


def sample_of(prompt: list[int], completion: list[int], logprobs: list[float], policy_step: int) -> Sample:
    """A sample of one turn."""
    loss_mask = [False] * len(prompt) + [True] * len(completion)
    return Sample(prompt + completion, loss_mask, [0.0] * len(prompt) + logprobs, policy_step)


@dataclass(frozen=True)
class Batch:
    """What one update learns from: N samples, one after the other, T tokens in all."""

    lengths: NDArray[np.int32]  # (N,) tokens of each sample
    tokens: NDArray[np.int32]  # (T,)
    loss_mask: NDArray[np.bool_]  # (T,)
    logprobs: NDArray[np.float32]  # (T,) with which they were sampled, 0 where loss_mask is false
    advantages: NDArray[np.float32]  # (N,)
    policy_steps: NDArray[np.int32]  # (N,) updates of the policy that sampled each
    temperature: float


def make_batch(samples: Sequence[Sample], advantages: Sequence[float], temperature: float) -> Batch:
    """`advantages` has one value for each sample."""
    return Batch(
        lengths=np.array([len(sample.tokens) for sample in samples], np.int32),
        tokens=np.array([token for sample in samples for token in sample.tokens], np.int32),
        loss_mask=np.array([flag for sample in samples for flag in sample.loss_mask], np.bool_),
        logprobs=np.array([value for sample in samples for value in sample.logprobs], np.float32),
        advantages=np.array(advantages, np.float32),
        policy_steps=np.array([sample.policy_step for sample in samples], np.int32),
        temperature=temperature,
    )


def write_batch(run: RunDir, step: int, batch: Batch) -> None:
    arrays = {name: value for name, value in vars(batch).items() if isinstance(value, np.ndarray)}
    about = {ATTEMPT: str(run.attempt), "temperature": str(batch.temperature)}
    with appearing(run.rollout(step)) as draft:
        save_file(arrays, draft, about)


def has_batch(run: RunDir, step: int) -> bool:
    """Whether this attempt has written the batch for one update."""
    return _is_ours(run.rollout(step), run)


def read_batch(run: RunDir, step: int) -> Batch:
    """The batch for one update, which must be there."""
    path = run.rollout(step)
    with safe_open(path, "numpy") as file:
        about = file.metadata()
    return Batch(**load_file(path), temperature=float(about["temperature"]))


# --- weights ----------------------------------------------------------------------------------------------------------


def has_weights(run: RunDir, step: int) -> bool:
    """Whether this attempt has published the policy after `step` updates."""
    return _is_ours(run.weights(step) / WEIGHTS, run)


def newest_weights(run: RunDir, oldest: int, newest: int | None = None) -> int | None:
    """The newest step, from `oldest` to `newest`, whose weights are published; None while there are none."""
    steps = (
        step for step in reversed(steps_in(run.all_weights)) if step >= oldest and (newest is None or step <= newest)
    )
    return next((step for step in steps if has_weights(run, step)), None)


def _is_ours(path: Path, run: RunDir) -> bool:
    try:
        with safe_open(path, "numpy") as file:
            return int(file.metadata()[ATTEMPT]) == run.attempt
    except FileNotFoundError:
        return False
