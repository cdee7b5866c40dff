"""The pairs of prompt and completion that supervised fine-tuning learns from, and in which order.

A user's file has one JSON object a line, with two texts:

    {"prompt": "hello>", "completion": "olleh"}
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from launcher.config.training import DataConfig, SFTTrainerConfig
from launcher.errors import UserError
from launcher.workload.models.load import Tokenizer
from launcher.workload.tasks import Prompt, load_task
from launcher.workload.training.rows import Sequences, sequences_of


@dataclass(frozen=True)
class Example:
    """A sequence of tokens, and which of them are learned."""

    tokens: NDArray[np.int32]  # (L,)
    learned: NDArray[np.bool_]  # (L,)

    @property
    def prompt(self) -> list[int]:
        """What stands before the first learned token."""
        return self.tokens[: self.learned.argmax()].tolist()  # type: ignore[no-any-return]


def collate(examples: Sequence[Example]) -> Sequences:
    """A batch whose loss is the mean over all learned tokens."""
    lengths = np.array([len(one.tokens) for one in examples], np.int32)
    learned = np.concatenate([one.learned for one in examples])
    batch = sequences_of(lengths, np.concatenate([one.tokens for one in examples]), learned)
    batch.weights[:] /= max(1, int(np.count_nonzero(batch.weights)))
    return batch


def load_examples(config: SFTTrainerConfig, tokenizer: Tokenizer, context: int) -> tuple[list[Example], list[Example]]:
    """The examples to learn from, and those held out; none is longer than `context` tokens.

    Raises UserError when the file, a line of it, or the task is no use.
    """
    if config.data.path is not None:
        return split(read_pairs(config.data.path, tokenizer, context), config.data, config.seed)
    task, data = load_task(config.task), config.data
    train, held_out = task.prompts(config.seed, 0, data.train_pairs), task.held_out(data.validation_pairs)
    pairs = [example_of(tokenizer, prompt, task.answer(prompt)) for prompt in [*train, *held_out]]
    longest = max(len(pair.tokens) for pair in pairs)
    if longest > context:
        raise UserError(f"the task's pairs take up to {longest} tokens, the model's context is {context}")
    return pairs[: len(train)], pairs[len(train) :]


def example_of(tokenizer: Tokenizer, prompt: Prompt, completion: str) -> Example:
    """A prompt, which is read, and the completion with its end, which is learned."""
    before = tokens_of(tokenizer, prompt)
    after = [*tokenizer(completion, add_special_tokens=False).input_ids, tokenizer.eos_token_id]
    return Example(np.array(before + after, np.int32), np.array([False] * len(before) + [True] * len(after)))


def tokens_of(tokenizer: Tokenizer, prompt: Prompt) -> list[int]:
    if isinstance(prompt, str):
        return list(tokenizer(prompt).input_ids)
    return list(tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True)["input_ids"])


def read_pairs(path: Path, tokenizer: Tokenizer, context: int) -> list[Example]:
    """The pairs of a JSONL file. Raises UserError, with file and line, when one is missing, broken or too long."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    numbered = [(f"{path}:{number}", line) for number, line in enumerate(lines, 1) if line.strip()]
    pairs = [_read_pair(line, where, tokenizer, context) for where, line in numbered]
    if len(pairs) < 2:
        raise UserError(f"{path} has {len(pairs)} pairs; at least 2 are needed, one to learn from and one held out")
    return pairs


def _read_pair(line: str, where: str, tokenizer: Tokenizer, context: int) -> Example:
    expected = 'a line is {"prompt": "…", "completion": "…"}'
    try:
        entry = json.loads(line)
    except ValueError as error:
        raise UserError(f"{where}: no JSON: {error}", expected) from error
    prompt, completion = (entry.get("prompt"), entry.get("completion")) if isinstance(entry, dict) else (None, None)
    if not (isinstance(prompt, str) and isinstance(completion, str)):
        raise UserError(f"{where}: prompt or completion is missing, or no text", expected)
    pair = example_of(tokenizer, prompt, completion)
    if len(pair.tokens) > context:
        raise UserError(
            f"{where}: prompt and completion take {len(pair.tokens)} tokens, the model's context is {context}"
        )
    return pair


def split(examples: list[Example], data: DataConfig, seed: int) -> tuple[list[Example], list[Example]]:
    """The examples to learn from and, drawn at random, those held out; at least one of each."""
    order = np.random.default_rng(seed).permutation(len(examples))
    held_out = min(max(1, round(len(examples) * data.validation_share)), len(examples) - 1)
    return [examples[row] for row in order[held_out:]], [examples[row] for row in order[:held_out]]


def rows_of_step(seed: int, step: int, count: int, total: int) -> list[int]:
    """Which `count` of `total` examples update `step` (from 1) learns from: each once in every pass, shuffled anew.

    A function of its arguments alone, so that a run which is continued needs no other memory of where it was.
    """
    places = range((step - 1) * count, step * count)
    return [int(_shuffled(seed, place // total, total)[place % total]) for place in places]


@lru_cache(maxsize=2)
def _shuffled(seed: int, epoch: int, total: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(total)
