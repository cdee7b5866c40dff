"""TRL's SFTTrainer over one epoch: `trl_sft.py MODEL DATA BATCH BLOCK PACKING`. PACKING is wrapped, bfd or none."""

import json
import sys
import time
from pathlib import Path

from datasets import Dataset
from quiet import QUIET
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer


def main(model: str, data: str, batch: str, block: str, packing: str) -> None:
    rows = [json.loads(line) for line in Path(data).read_text().splitlines()]
    config = SFTConfig(
        output_dir="trl-sft",
        per_device_train_batch_size=int(batch),
        num_train_epochs=1,
        max_length=int(block),
        packing=packing != "none",
        packing_strategy=packing if packing != "none" else "bfd",
        learning_rate=1e-3,
        **QUIET,
    )
    trainer = SFTTrainer(
        AutoModelForCausalLM.from_pretrained(model),
        config,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(model),
    )
    started = time.perf_counter()
    trainer.train()
    print("RESULT", json.dumps({"seconds": time.perf_counter() - started, "steps": trainer.state.global_step}))


if __name__ == "__main__":
    main(*sys.argv[1:])
