"""Hugging Face's Trainer over one epoch, padded to the longest of a batch: `hf_trainer.py MODEL DATA BATCH BLOCK`."""

import json
import sys
import time
from pathlib import Path

from datasets import Dataset
from quiet import QUIET
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    Trainer,
    TrainingArguments,
)


def main(model: str, data: str, batch: str, block: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model)
    rows = [json.loads(line) for line in Path(data).read_text().splitlines()]

    def tokenize(row: dict[str, str]) -> dict[str, list[int]]:
        prompt = tokenizer(row["prompt"]).input_ids
        answer = [*tokenizer(row["completion"], add_special_tokens=False).input_ids, tokenizer.eos_token_id]
        return {
            "input_ids": (prompt + answer)[: int(block)],
            "labels": ([-100] * len(prompt) + answer)[: int(block)],
        }

    arguments = TrainingArguments(
        output_dir="hf-trainer",
        per_device_train_batch_size=int(batch),
        num_train_epochs=1,
        learning_rate=1e-3,
        **QUIET,
        train_sampling_strategy="group_by_length",
    )
    trainer = Trainer(
        AutoModelForCausalLM.from_pretrained(model),
        arguments,
        train_dataset=Dataset.from_list(rows).map(tokenize, remove_columns=["prompt", "completion"]),
        data_collator=DataCollatorForSeq2Seq(tokenizer),
    )
    started = time.perf_counter()
    trainer.train()
    print("RESULT", json.dumps({"seconds": time.perf_counter() - started, "steps": trainer.state.global_step}))


if __name__ == "__main__":
    main(*sys.argv[1:])
