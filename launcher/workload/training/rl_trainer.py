"""The RL trainer: a batch from the orchestrator, one update of the policy, the new weights to the inference server.

The loss is the policy gradient with importance ratios against the policy that sampled, clipped as in PPO (Schulman et
al., 2017, eq. 7) with the asymmetric bounds of DAPO (Yu et al., 2025, eq. 10), and, as there, the mean over all tokens
of the batch. Two terms keep the policy exploring: an entropy bonus, and the cross-entropy from the uniform
distribution. The bonus pulls at a token in proportion to its probability, so a letter that went unrewarded early would
be lost for good; the second term never lets go. Left out: a value function, several epochs over one batch, a reference
policy.
"""

import time

import numpy as np
import torch
from torch import Tensor
from torch.distributed.elastic.multiprocessing.errors import record

from launcher.borders.screen import quoted
from launcher.checkpoints import steps_in
from launcher.config.training import PolicyLossConfig, RLTrainerConfig
from launcher.errors import UserError
from launcher.instrumentation.waiting import waiting_for
from launcher.logger import get_logger
from launcher.monitor import get_monitor
from launcher.numbers import three_digits
from launcher.rundir import RunDir
from launcher.workload.entry import StopRequest, quick_imports, run_dir
from launcher.workload.files import clear, is_restarted, remove
from launcher.workload.ranks import World, join_ranks
from launcher.workload.rollout.handover import Batch, has_batch, read_batch
from launcher.workload.training.learner import Learner
from launcher.workload.training.rows import Sequences, sequences_of
from launcher.workload.training.scorer import Terms, TokenTerms

POLL = 0.005  # seconds between looks at the directory of the batches
SLACK = 60.0  # seconds that ranks wait for each other beyond the wait for a batch


@record
def train(config: RLTrainerConfig) -> int:
    """Do what is left of `max_steps` updates; the process's exit code comes back.

    Raises UserError when no batch comes, when the run's checkpoint cannot be continued, or when torchrun --max-restarts
    has restarted the ranks: the orchestrator does not go back with them.
    """
    if is_restarted():
        resume = f"launch resume {quoted(str(run_dir(config).root))}"
        raise UserError("torchrun has restarted the ranks of an RL run", f"continue it instead with: {resume}")
    stop, run = StopRequest(), run_dir(config)
    with join_ranks(config.model.device, config.batch_timeout + SLACK) as ranks:
        with quick_imports():  # torch's optimizers import as much again
            learner = Learner(config, ranks)
        if ranks.is_first:
            clear(run.all_weights)
        learner.publish()
        while learner.step < config.max_steps:
            started = time.perf_counter()
            batch = next_batch(run, learner.step + 1, ranks, stop, config.batch_timeout)
            if batch is None:
                get_logger().info("asked to end after {} updates", learner.step)
                learner.save_checkpoint()
                return stop.exit_code
            waited = time.perf_counter() - started
            metrics = learn(learner, batch, config.loss)
            learner.publish()
            if ranks.is_first:
                remove_passed(run, learner.step, oldest_policy(batch))
            if learner.is_checkpoint_due:
                learner.save_checkpoint()
            report(learner, batch, metrics, waited, time.perf_counter() - started)
        learner.save_checkpoint()
    return 0


# --- hand-over --------------------------------------------------------------------------------------------------------


def remove_passed(run: RunDir, step: int, policy_step: int) -> None:
    """Remove the batch that was just learned from, and weights older than those that sampled it.

    The orchestrator never goes back, so it has no more use for them. Those that sampled it stay for a server that was
    started again.
    """
    remove(run.rollout(step))
    for old in steps_in(run.all_weights):
        if old < policy_step:
            remove(run.weights(old))


def oldest_policy(batch: Batch) -> int:
    """Updates of the oldest policy that sampled any of it."""
    return int(batch.policy_steps.min())


def next_batch(run: RunDir, step: int, ranks: World, stop: StopRequest, timeout: float) -> Batch | None:
    """Wait for the batch of one update; None when the process was asked to end. Raises UserError after `timeout`."""
    deadline = time.monotonic() + timeout
    if ranks.is_first:
        with waiting_for(f"batch {step}"):
            while not (has_batch(run, step) or stop.requested or time.monotonic() > deadline):
                time.sleep(POLL)
    late = ranks.is_first and not has_batch(run, step)
    outcome = ranks.highest(2 if stop.requested else 1 if late else 0)
    if outcome == 1:
        raise UserError(f"no batch {step} after {timeout:g} s", "is the orchestrator alive? see its log")
    return read_batch(run, step) if outcome == 0 else None


# --- one update -------------------------------------------------------------------------------------------------------


def learn(learner: Learner, batch: Batch, config: PolicyLossConfig) -> dict[str, float]:
    """Update the policy once; the means over all learned tokens of the batch come back."""
    sequences = sequences_of(batch.lengths, batch.tokens, batch.loss_mask)
    count = np.count_nonzero(sequences.weights)
    if len(batch.lengths) < learner.ranks.count or not count:
        raise UserError(f"a batch of {len(batch.lengths)} samples is too small for {learner.ranks.count} ranks")
    sequences.weights[:] /= count
    learned = learner.update(sequences, policy_terms(batch, sequences, config, learner.ranks), batch.temperature)
    if get_monitor().wants_extras(learner.step):
        get_monitor().log_distributions(learner.step, {"entropy": learned.terms["policy/entropy"].tolist()})
    return learned.means | {"loss": learned.loss}


def policy_terms(batch: Batch, sequences: Sequences, config: PolicyLossConfig, ranks: World) -> TokenTerms:
    """The terms of the batch's tokens, as a function of their logits."""
    of_tokens = (sequences.tokens.astype(np.int64), batch.logprobs, batch.advantages[sequences.owners])
    tokens, sampled, advantages = (torch.from_numpy(array).to(ranks.device) for array in of_tokens)  # each (T,)
    return lambda logits, at: token_terms(logits, tokens[at], sampled[at], advantages[at], config)


def token_terms(logits: Tensor, tokens: Tensor, sampled: Tensor, advantages: Tensor, config: PolicyLossConfig) -> Terms:
    """What every token (C,) adds to the loss and to the metrics, from its logits (C, V).

    `sampled` (C,) are the log-probabilities under the policy that sampled. The KL divergence to that policy is
    estimated as r - 1 - log r of the ratio r (Schulman, 2020, "Approximating KL divergence", k3).
    """
    logprobs = logits.log_softmax(-1)  # (C, V)
    log_ratio = logprobs.gather(1, tokens[:, None])[:, 0] - sampled
    ratio = log_ratio.exp()
    gain, clipped = ratio * advantages, ratio.clamp(1 - config.clip_low, 1 + config.clip_high) * advantages
    entropy = -(logprobs.exp() * logprobs).sum(-1)
    return {
        "loss": -torch.minimum(gain, clipped) - config.entropy * entropy - config.exploration * logprobs.mean(-1),
        "policy/ratio": ratio,
        "policy/clip_fraction": (clipped < gain).float(),
        "policy/entropy": entropy,
        "policy/kl": ratio - 1 - log_ratio,
    }


def report(learner: Learner, batch: Batch, metrics: dict[str, float], waited: float, seconds: float) -> None:
    """Log the step, on the console in one line."""
    step, lag = learner.step, learner.step - 1 - oldest_policy(batch)
    tokens = int(batch.loss_mask.sum())
    get_monitor().log(
        metrics
        | {
            "optimizer/lr": learner.learning_rate,
            "policy/lag": lag,
            "perf/step_s": seconds,
            "perf/wait_for_batch_s": waited,
            "perf/tokens_per_s": tokens / seconds,
        },
        step,
    )
    get_logger().info(
        "step {} | loss {} | ratio {} | entropy {} | grad {} | lag {} | {:.2f} s, waited {:.2f} s",
        step,
        three_digits(metrics["loss"]),
        three_digits(metrics["policy/ratio"]),
        three_digits(metrics["policy/entropy"]),
        three_digits(metrics["optimizer/grad_norm"]),
        lag,
        seconds,
        waited,
    )
