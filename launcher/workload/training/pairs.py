"""The pairs of prompt and completion that supervised fine-tuning learns from, and in which order.

A user's file has one JSON object a line, with two texts:

    {"prompt": "hello>", "completion": "olleh"}
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from launcher.config.training import DataConfig, SFTTrainerConfig
from launcher.errors import UserError
from launcher.workload.task import load_task
from launcher.workload.tokens import END, encode


@dataclass(frozen=True)
class Pair:
    prompt: str
    completion: str

    @property
    def prompt_tokens(self) -> list[int]:
        return [END, *encode(self.prompt)]

    @property
    def completion_tokens(self) -> list[int]:
        return [*encode(self.completion), END]

    @property
    def length(self) -> int:
        """Of both, in tokens."""
        return len(self.prompt_tokens) + len(self.completion_tokens)


def load_pairs(config: SFTTrainerConfig, context: int) -> tuple[list[Pair], list[Pair]]:
    """The pairs to learn from, and those held out; none is longer than `context` tokens.

    Raises UserError when the file, a line of it, or the task is no use.
    """
    if config.data.path is not None:
        return split(read_pairs(config.data.path, context), config.data, config.seed)
    task, data = load_task(config.task), config.data
    train = [Pair(prompt, task.answer(prompt)) for prompt in task.prompts(config.seed, 0, data.train_pairs)]
    held_out = [Pair(prompt, task.answer(prompt)) for prompt in task.held_out(data.validation_pairs)]
    longest = max(pair.length for pair in train + held_out)
    if longest > context:
        raise UserError(f"the task's pairs take up to {longest} tokens, model.context is {context}")
    return train, held_out


def read_pairs(path: Path, context: int) -> list[Pair]:
    """The pairs of a JSONL file. Raises UserError, with file and line, when one is missing, broken or too long."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    pairs = [_read_pair(line, f"{path}:{number}", context) for number, line in enumerate(lines, 1) if line.strip()]
    if len(pairs) < 2:
        raise UserError(f"{path} has {len(pairs)} pairs; at least 2 are needed, one to learn from and one held out")
    return pairs


def _read_pair(line: str, where: str, context: int) -> Pair:
    expected = 'a line is {"prompt": "…", "completion": "…"}'
    try:
        entry = json.loads(line)
    except ValueError as error:
        raise UserError(f"{where}: no JSON: {error}", expected) from error
    prompt, completion = (entry.get("prompt"), entry.get("completion")) if isinstance(entry, dict) else (None, None)
    if not (isinstance(prompt, str) and isinstance(completion, str)):
        raise UserError(f"{where}: prompt or completion is missing, or no text", expected)
    pair = Pair(prompt, completion)
    if pair.length > context:
        raise UserError(f"{where}: prompt and completion take {pair.length} tokens, model.context is {context}")
    return pair


def split(pairs: list[Pair], data: DataConfig, seed: int) -> tuple[list[Pair], list[Pair]]:
    """The pairs to learn from and, drawn at random, those held out; at least one of each."""
    order = np.random.default_rng(seed).permutation(len(pairs))
    held_out = min(max(1, round(len(pairs) * data.validation_share)), len(pairs) - 1)
    return [pairs[row] for row in order[held_out:]], [pairs[row] for row in order[:held_out]]


def rows_of_step(seed: int, step: int, count: int, total: int) -> list[int]:
    """Which `count` of `total` pairs update `step` (from 1) learns from: each once in every pass, shuffled anew.

    A function of its arguments alone, so that a run which is continued needs no other memory of where it was.
    """
    places = range((step - 1) * count, step * count)
    return [int(_shuffled(seed, place // total, total)[place % total]) for place in places]


@lru_cache(maxsize=2)
def _shuffled(seed: int, epoch: int, total: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(total)
