"""The data of supervised fine-tuning: a file of the user's, a data set of the hub, or the task's own answers.

A file is JSONL or Parquet, and a record of it one of

    {"messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]}
    {"prompt": "hello>", "completion": "olleh"}

where prompt and completion may be messages too. It is read and tokenized by the first rank, once.
"""

from collections.abc import Iterator
from typing import Any

from launcher.borders.pairs import COLUMNS, FORM, check_pairs, too_few, trouble_of
from launcher.borders.records import Record, read_records
from launcher.config.training import DataConfig, SFTTrainerConfig
from launcher.errors import UserError
from launcher.logger import adopt_console_loggers, get_logger
from launcher.workload.models.tokenizer import Tokenizer
from launcher.workload.tasks import load_task
from launcher.workload.training.chat import chat_example, example_of
from launcher.workload.training.examples import Example, split


def load_examples(config: SFTTrainerConfig, tokenizer: Tokenizer, context: int) -> tuple[list[Example], list[Example]]:
    """The examples to learn from, and those held out; none is longer than `context` tokens.

    Raises UserError when the file, one of its records, or the task cannot be used.
    """
    data = config.data
    if data.path is None and data.dataset is None:
        return task_examples(config, tokenizer, context)
    if data.path is not None:  # a GB takes 4 s, its tokens 400 s or more
        check_pairs(data.path, bool(tokenizer.chat_template), most=None)
    examples, dropped = [], 0
    for where, record in read_data(data):
        example = _named(where, tokenizer, record)
        if len(example.tokens) <= context:
            examples.append(example)
        elif data.too_long == "error":
            hint = "--trainer.data.too-long drop leaves such records out"
            raise UserError(f"{where} has {len(example.tokens)} tokens; the model's context is {context}", hint)
        else:
            dropped += 1
    if dropped:
        total = dropped + len(examples)
        get_logger().info("dropped {} of {} records: longer than {} tokens", dropped, total, context)
    if len(examples) < 2:
        which = f" of at most {context} tokens, the model's context" if dropped else ""
        raise too_few(data.path or data.dataset, len(examples), which)
    return split(examples, data, config.seed)


def check_vocabulary(examples: list[Example], vocabulary: int) -> None:
    """Raises UserError for a token that the model does not have."""
    highest = max(int(example.tokens.max()) for example in examples)
    if highest >= vocabulary:
        what = f"the tokenizer makes token {highest}, but the model's vocabulary has {vocabulary}"
        raise UserError(what, "the tokenizer's files are those of another model")


def task_examples(config: SFTTrainerConfig, tokenizer: Tokenizer, context: int) -> tuple[list[Example], list[Example]]:
    """The task's prompts with its own answers."""
    task, data = load_task(config.task), config.data
    train, held_out = task.prompts(config.seed, 0, data.train_pairs), task.held_out(data.validation_pairs)
    examples = [example_of(tokenizer, prompt, task.answer(prompt)) for prompt in [*train, *held_out]]
    longest = max(len(example.tokens) for example in examples)
    if longest > context:
        raise UserError(f"the task's answers have up to {longest} tokens; the model's context is {context}")
    return examples[: len(train)], examples[len(train) :]


def read_data(data: DataConfig) -> Iterator[Record]:
    """Every record of a file or of a data set on the hub. Raises UserError when it cannot be read."""
    if data.path is not None:
        return read_records(data.path, COLUMNS, FORM)
    try:
        from datasets import load_dataset
        from datasets.utils.logging import disable_progress_bar
    except ImportError as error:
        message = f"the data set {data.dataset} needs the package datasets"
        raise UserError(message, "pip install 'launch-rl[data]'") from error
    disable_progress_bar()  # a log is not a terminal
    adopt_console_loggers()
    try:
        found = load_dataset(data.dataset, data.subset, split=data.split)
    except Exception as error:  # of the hub, of the network, of the data's own form; there is no common class
        first_line = str(error).strip().partition("\n")[0]
        raise UserError(f"cannot load the data set {data.dataset}: {first_line}") from error
    return ((f"{data.dataset}, {data.split} {number}", row) for number, row in enumerate(found, 1))


def _named(where: str, tokenizer: Tokenizer, record: Any) -> Example:
    """The example of a record. Raises UserError that says where it is."""
    try:
        example = _example(tokenizer, record)
    except UserError as error:
        raise UserError(f"{where}: {error.message}", error.hint) from error
    if not example.learned[1:].any():
        raise UserError(f"{where}: there is nothing to learn")
    return example


def _example(tokenizer: Tokenizer, record: Any) -> Example:
    if trouble := trouble_of(record):
        raise UserError(trouble, FORM)
    if record.get("messages") is not None:
        return chat_example(tokenizer, record["messages"])
    return example_of(tokenizer, record["prompt"], record["completion"])
