"""The RL trainer: a batch from the orchestrator, one update of the policy, the new weights to the inference server.

The loss is in policy_loss.py. Left out: a value function, several epochs over one batch.
"""

import time

import torch
from torch import Tensor

from launcher.borders.screen import quoted
from launcher.checkpoints import steps_in
from launcher.config.training import PolicyLossConfig, RLTrainerConfig
from launcher.errors import UserError
from launcher.instrumentation.marks import mark
from launcher.instrumentation.waiting import waiting_for
from launcher.logger import get_logger
from launcher.monitor import get_monitor
from launcher.numbers import three_digits
from launcher.rundir import RunDir
from launcher.workload.entry import StopRequest, quick_imports, run_dir
from launcher.workload.files import clear, is_restarted, remove
from launcher.workload.models.find import find_model
from launcher.workload.ranks import World, join_ranks, recorded
from launcher.workload.rollout.handover import Batch, has_batch, read_batch
from launcher.workload.training.learner import Learner
from launcher.workload.training.parallel import ParallelScorer, read_model
from launcher.workload.training.policy_loss import policy_terms, sequences_in
from launcher.workload.training.scorer import Scorer, Terms
from launcher.workload.training.sequences import Sequences

Means = dict[str, float]

POLL = 0.005  # seconds between looks at the directory of the batches
SLACK = 60.0  # seconds that ranks wait for each other beyond the wait for a batch


@recorded
def train(config: RLTrainerConfig) -> int:
    """Do the rest of `max_steps` updates. Returns the process's exit code.

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
        mark("model")
        if ranks.is_first:
            clear(run.all_weights)
        learner.publish()
        mark("first weights")
        reference = reference_of(learner)
        while learner.step < config.max_steps:
            started = time.perf_counter()
            batch = next_batch(run, learner.step + 1, ranks, stop, config.batch_timeout)
            if batch is None:
                get_logger().info("asked to end after {} updates", learner.step)
                learner.save_checkpoint()
                return stop.exit_code
            mark("first batch", waits_for="orchestrator")
            waited = time.perf_counter() - started
            metrics = learn(learner, batch, config.whole_loss, reference)
            learned = time.perf_counter()
            learner.publish()
            metrics["perf/publish_s"] = time.perf_counter() - learned
            if ranks.is_first:
                remove_passed(run, learner.step, oldest_policy(batch))
            learner.save_checkpoint_if_due()
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


def learn(learner: Learner, batch: Batch, config: PolicyLossConfig, reference: ParallelScorer | None) -> Means:
    """Update the policy once; the means over all learned tokens of the batch come back."""
    ranks = learner.ranks
    sequences = sequences_in(batch, config)
    if len(batch.lengths) < ranks.count:
        raise UserError(f"a batch of {len(batch.lengths)} samples is too small for {ranks.count} ranks")
    likely = None if reference is None else logprobs_under(reference, learner, sequences, batch.temperature)
    terms = policy_terms(batch, sequences.owners, config, ranks.device, likely)
    learned = learner.update(sequences, terms, batch.temperature)
    if get_monitor().wants_extras(learner.step):
        get_monitor().log_distributions(learner.step, {"entropy": learned.terms["policy/entropy"].tolist()})
    return learned.means | {"loss": learned.loss}


def reference_of(learner: Learner) -> ParallelScorer | None:
    """The model that the run has started from, if the loss asks for it."""
    config = learner.config
    assert isinstance(config, RLTrainerConfig)
    if not config.loss.kl:
        return None
    name = learner.ranks.from_first(lambda: find_model(config.model, config))
    model = read_model(name, learner.ranks, config.model.dtype)
    return ParallelScorer(Scorer(model.requires_grad_(False)), learner.ranks, config)


def logprobs_under(model: ParallelScorer, learner: Learner, sequences: Sequences, temperature: float) -> Tensor:
    """The log-probability of each of this rank's learned tokens (T,), 0 elsewhere."""
    tokens = torch.from_numpy(sequences.tokens).long().to(learner.ranks.device)

    def terms(logits: Tensor, at: Tensor) -> Terms:
        return {"loss": -torch.nn.functional.cross_entropy(logits, tokens[at], reduction="none")}

    seen = learner.look_at(sequences, terms, temperature, model)
    found = torch.zeros(len(tokens), device=learner.ranks.device)
    found[seen.tokens.to(found.device)] = seen.terms["loss"]
    return found


def report(learner: Learner, batch: Batch, metrics: dict[str, float], waited: float, seconds: float) -> None:
    """Log the step, on the console in one line that fits into a pane of 80 columns."""
    step = learner.step
    tokens = int(batch.loss_mask.sum())
    get_monitor().log(
        metrics
        | {
            "optimizer/lr": learner.learning_rate,
            "policy/lag": step - 1 - oldest_policy(batch),
            "perf/step_s": seconds,
            "perf/wait_for_batch_s": waited,
            "perf/tokens_per_s": tokens / seconds,
        },
        step,
    )
    get_logger().info(
        "step {} | loss {} | entropy {} | grad {} | {} s, waited {:.1f} s",
        step,
        three_digits(metrics["loss"]),
        three_digits(metrics["policy/entropy"]),
        three_digits(metrics["optimizer/grad_norm"]),
        three_digits(seconds),
        waited,
    )
