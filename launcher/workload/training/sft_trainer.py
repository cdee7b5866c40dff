"""The SFT trainer: next-token loss on the completions, the prompts only being read.

Every rank takes its share of each batch, and the loss is the mean over all tokens of all ranks, so that a step is the
same on any number of them. Left out: packing of short sequences, gradient accumulation, a schedule beyond the warm-up.
"""

import time

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributed.elastic.multiprocessing.errors import record

from launcher.config.training import SFTTrainerConfig
from launcher.errors import UserError
from launcher.logger import get_logger
from launcher.monitor import get_monitor
from launcher.numbers import three_digits
from launcher.workload.entry import StopRequest, quick_imports
from launcher.workload.generate import SamplingRequest, generate
from launcher.workload.ranks import join_ranks
from launcher.workload.tokens import END, decode
from launcher.workload.training.learner import Learner
from launcher.workload.training.pairs import Pair, load_pairs, rows_of_step

PATIENCE = 600.0  # seconds that ranks wait for each other


@record
def train(config: SFTTrainerConfig) -> int:
    """Do what is left of `max_steps` updates; the process's exit code comes back.

    Raises UserError when the pairs are no use, or when the run's checkpoint cannot be continued.
    """
    stop = StopRequest()
    with join_ranks(config.model.device, PATIENCE) as ranks:
        if config.batch_size < ranks.count:
            raise UserError(f"batch_size {config.batch_size} is too small for {ranks.count} ranks")
        with quick_imports():  # torch's optimizers import as much again
            learner = Learner(config, ranks)
        pairs, held_out = load_pairs(config, learner.model.shape.context)
        if learner.step == 0:
            get_monitor().log(evaluate(learner, held_out), step=0)
        while learner.step < config.max_steps:
            if ranks.highest(int(stop.requested)):
                get_logger().info("asked to end after {} updates", learner.step)
                learner.save_checkpoint()
                return stop.exit_code
            started = time.perf_counter()
            rows = rows_of_step(config.seed, learner.step + 1, config.batch_size, len(pairs))
            metrics = learn(learner, [pairs[row] for row in rows])
            metrics |= speed(metrics, time.perf_counter() - started)
            if learner.step % config.validation_interval == 0 or learner.step == config.max_steps:
                metrics |= evaluate(learner, held_out)
            if learner.is_checkpoint_due:
                learner.save_checkpoint()
            report(learner, metrics)
        learner.save_checkpoint()
    return 0


def learn(learner: Learner, pairs: list[Pair]) -> dict[str, float]:
    """Update the model once on a batch, of which this rank takes its share."""
    ranks = learner.ranks
    count = sum(len(pair.completion_tokens) for pair in pairs)
    tokens, loss_mask = collate(pairs[ranks.rank :: ranks.count], ranks.device)  # both (B, T)
    losses = token_losses(learner.parallel(tokens[:, :-1]), tokens, loss_mask)  # (B, T - 1)
    loss = losses.sum() / count
    norm = learner.update(loss)
    return {
        "loss": float(ranks.sum(loss.detach())),
        "optimizer/grad_norm": norm,
        "optimizer/lr": learner.learning_rate,
        "data/tokens": count,
    }


def collate(pairs: list[Pair], device: torch.device) -> tuple[Tensor, Tensor]:
    """Tokens (B, T), padded with END, and a mask (B, T) that is 1 for the tokens of the completions."""
    rows = [pair.prompt_tokens + pair.completion_tokens for pair in pairs]
    tokens = torch.full((len(rows), max(map(len, rows))), END)
    loss_mask = torch.zeros(tokens.shape)
    for index, (row, pair) in enumerate(zip(rows, pairs, strict=True)):
        tokens[index, : len(row)] = torch.tensor(row)
        loss_mask[index, len(pair.prompt_tokens) : len(row)] = 1
    return tokens.to(device), loss_mask.to(device)


def token_losses(logits: Tensor, tokens: Tensor, loss_mask: Tensor) -> Tensor:
    """The negative log-likelihood of each token but the first (B, T - 1), 0 where it is not learned.

    `logits` (B, T - 1, V) are those after each token but the last.
    """
    losses = F.cross_entropy(logits.float().transpose(1, 2), tokens[:, 1:], reduction="none")
    return losses * loss_mask[:, 1:]


# --- held-out pairs ---------------------------------------------------------------------------------------------------


@torch.no_grad()
def evaluate(learner: Learner, held_out: list[Pair]) -> dict[str, float]:
    """The loss on the held-out pairs, and the share whose likeliest completion is exactly the right one."""
    ranks, mine = learner.ranks, held_out[learner.ranks.rank :: learner.ranks.count]
    sums = torch.zeros(3, device=ranks.device)  # loss, tokens, pairs that match
    if mine:
        tokens, loss_mask = collate(mine, ranks.device)
        loss = token_losses(learner.model(tokens[:, :-1]), tokens, loss_mask).sum()
        texts = complete(learner, mine)
        matches = sum(text == pair.completion for text, pair in zip(texts, mine, strict=True))
        sums = torch.stack([loss, loss_mask.sum(), loss.new_tensor(matches)])
        log_samples(learner.step, mine, texts)
    loss_sum, count, matches = ranks.sum(sums).tolist()
    metrics = {"validation/loss": loss_sum / count, "evaluation/exact_match": matches / len(held_out)}
    get_logger().info(
        "evaluation after {} updates: validation loss {}, exact match {}",
        learner.step,
        *map(three_digits, metrics.values()),
    )
    return metrics


def complete(learner: Learner, pairs: list[Pair]) -> list[str]:
    """The model's likeliest completions of the pairs' prompts, each at most as long as the true one."""
    no_luck = [torch.zeros(len(pair.completion_tokens), dtype=torch.float64) for pair in pairs]
    wanted = [SamplingRequest(pair.prompt_tokens, 0.0, draws) for pair, draws in zip(pairs, no_luck, strict=True)]
    sampled = generate(learner.model, wanted)
    return [decode(one.tokens) for one in sampled]


def log_samples(step: int, pairs: list[Pair], texts: list[str]) -> None:
    """Log what the model makes of the held-out prompts; the reward is 1 for exactly the right completion."""
    if get_monitor().wants_extras(step):
        samples = [
            {"problem": pair.prompt, "prompt": pair.prompt, "completion": text, "reward": int(text == pair.completion)}
            for pair, text in zip(pairs, texts, strict=True)
        ]
        get_monitor().log_samples(step, samples)


# --- what people see --------------------------------------------------------------------------------------------------


def speed(metrics: dict[str, float], seconds: float) -> dict[str, float]:
    return {"perf/step_s": seconds, "perf/tokens_per_s": metrics["data/tokens"] / seconds}


def report(learner: Learner, metrics: dict[str, float]) -> None:
    """Log the step, on the console in one line."""
    get_monitor().log(metrics, learner.step)
    get_logger().info(
        "step {}/{} | loss {} | grad {} | {} tokens/s",
        learner.step,
        learner.config.max_steps,
        three_digits(metrics["loss"]),
        three_digits(metrics["optimizer/grad_norm"]),
        three_digits(metrics["perf/tokens_per_s"]),
    )
