"""The SFT trainer: next-token loss on the completions, the prompts only being read.

The loss is the mean over all learned tokens of a batch, over all ranks, so that a step is the same on any number of
them.
"""

import time
from math import ceil

import numpy as np
import torch
from torch import Tensor

from launcher.config.training import SFTTrainerConfig
from launcher.errors import UserError
from launcher.instrumentation.marks import mark
from launcher.logger import get_logger
from launcher.monitor import get_monitor
from launcher.numbers import three_digits
from launcher.workload.entry import StopRequest, quick_imports
from launcher.workload.ranks import join_ranks, recorded
from launcher.workload.training.data import check_vocabulary, load_examples
from launcher.workload.training.examples import Example, collate, digest_of, rows_of_step
from launcher.workload.training.learner import Learned, Learner
from launcher.workload.training.scorer import Terms
from launcher.workload.training.sequences import Sequences

PATIENCE = 600.0  # seconds that ranks wait for each other


@recorded
def train(config: SFTTrainerConfig) -> int:
    """Do the rest of `max_steps` updates. Returns the process's exit code.

    Raises UserError when the data are no use, or when the run's checkpoint cannot be continued.
    """
    stop = StopRequest()
    with join_ranks(config.model.device, PATIENCE) as ranks:
        if config.batch_size < ranks.count:
            raise UserError(f"batch_size {config.batch_size} is too small for {ranks.count} ranks")
        with quick_imports():  # torch's optimizers import as much again
            learner = Learner(config, ranks)
        mark("model")
        examples, held_out = ranks.from_first(lambda: load_examples(config, learner.tokenizer, learner.context))
        check_vocabulary(examples + held_out, learner.vocabulary)
        if ranks.is_first:
            learner.remember_data(digest_of(examples + held_out))
        mark("data")
        if config.epochs is not None:
            learner.last_step = ceil(config.epochs * len(examples) / config.batch_size)
        if learner.step == 0:
            get_monitor().log(evaluate(learner, held_out), step=0)
            mark("evaluation")
        while learner.step < learner.last_step:
            if ranks.highest(int(stop.requested)):
                get_logger().info("asked to end after {} updates", learner.step)
                learner.save_checkpoint()
                return stop.exit_code
            started = time.perf_counter()
            rows = rows_of_step(config.seed, learner.step + 1, config.batch_size, len(examples))
            metrics = learn(learner, [examples[row] for row in rows])
            metrics |= speed(metrics, time.perf_counter() - started)
            if learner.step % config.validation_interval == 0 or learner.step == learner.last_step:
                metrics |= evaluate(learner, held_out)
            learner.save_checkpoint_if_due()
            report(learner, metrics)
        learner.save_checkpoint()
    return 0


def learn(learner: Learner, examples: list[Example]) -> dict[str, float]:
    """Update the model once on a batch."""
    batch = collate(examples)
    targets = torch.from_numpy(batch.tokens).long().to(learner.ranks.device)
    learned = learner.update(batch, lambda logits, at: {"loss": token_losses(logits, targets[at])})
    return learned.means | {"loss": learned.loss, "data/tokens": int(np.count_nonzero(batch.weights))}


def token_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """The negative log-likelihood (C,) of each token, from the logits (C, V) before it."""
    return torch.nn.functional.cross_entropy(logits, targets, reduction="none")


# --- held-out examples ------------------------------------------------------------------------------------------------


def evaluate(learner: Learner, held_out: list[Example]) -> dict[str, float]:
    """The loss on the held-out examples, and the share whose likeliest completion is exactly the right one.

    It is where each learned token is the likeliest after the right ones before it; nothing has to be sampled for that.
    """
    batch = collate(held_out)
    targets = torch.from_numpy(batch.tokens).long().to(learner.ranks.device)

    def terms(logits: Tensor, at: Tensor) -> Terms:
        return {"loss": token_losses(logits, targets[at]), "likeliest": logits.argmax(-1)}

    seen = learner.look_at(batch, terms)
    wrong = torch.zeros(len(held_out), device=learner.ranks.device)
    owners = torch.from_numpy(batch.owners).to(learner.ranks.device)
    at = seen.tokens.to(learner.ranks.device)
    wrong.index_add_(0, owners[at], (seen.terms["likeliest"] != targets[at]).float())
    wrong = learner.ranks.sum(wrong)
    metrics = {"validation/loss": seen.loss, "evaluation/exact_match": float((wrong == 0).float().mean())}
    log_samples(learner, held_out, batch, seen)
    get_logger().info(
        "evaluation after {} updates: validation loss {}, exact match {}",
        learner.step,
        *map(three_digits, metrics.values()),
    )
    return metrics


def log_samples(learner: Learner, held_out: list[Example], batch: Sequences, seen: Learned) -> None:
    """Log the likeliest tokens of the first rank's examples; the reward is 1 where all of them are right."""
    if not learner.ranks.is_first:
        return
    likeliest, mine = batch.tokens.copy(), seen.tokens.cpu().numpy()
    likeliest[mine] = seen.terms["likeliest"].cpu().numpy()
    decode, rows = learner.tokenizer.decode, []
    for owner in np.unique(batch.owners[mine]):
        one, start = held_out[owner], batch.starts[owner]
        made = likeliest[start : start + len(one.tokens)][one.learned]
        prompt, right = decode(one.prompt), bool((made == one.tokens[one.learned]).all())
        rows.append({"problem": prompt, "prompt": prompt, "completion": decode(made), "reward": int(right)})
    get_monitor().log_samples(learner.step, rows)


# --- what people see --------------------------------------------------------------------------------------------------


def speed(metrics: dict[str, float], seconds: float) -> dict[str, float]:
    return {"perf/step_s": seconds, "perf/tokens_per_s": metrics["data/tokens"] / seconds}


def report(learner: Learner, metrics: dict[str, float]) -> None:
    """Log the step, on the console in one line."""
    get_monitor().log(metrics, learner.step)
    get_logger().info(
        "step {}/{} | loss {} | grad {} | {} tokens/s",
        learner.step,
        learner.last_step,
        three_digits(metrics["loss"]),
        three_digits(metrics["optimizer/grad_norm"]),
        three_digits(metrics["perf/tokens_per_s"]),
    )
