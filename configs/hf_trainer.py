"""The plain Trainer of Hugging Face, as its users write it; it knows nothing of launch. See hf_trainer.toml."""

import atexit
import os
import sys
from dataclasses import dataclass

import torch.distributed as dist
from transformers import AutoModelForCausalLM, AutoTokenizer, HfArgumentParser, Trainer, TrainingArguments

TEXTS = ("to be or not to be", "that is the question", "all the world is a stage", "what is past is prologue")


@dataclass
class ModelArguments:
    model: str


def main() -> None:
    own, arguments = HfArgumentParser((ModelArguments, TrainingArguments)).parse_args_into_dataclasses()
    tokenizer = AutoTokenizer.from_pretrained(own.model)
    encoded = [tokenizer(text, padding="max_length", truncation=True, max_length=32) for text in TEXTS * 16]
    data = [{"input_ids": one["input_ids"], "labels": one["input_ids"]} for one in encoded]
    model = AutoModelForCausalLM.from_pretrained(own.model)
    Trainer(model, arguments, train_dataset=data).train()
    if dist.is_initialized():
        dist.destroy_process_group()
    atexit._run_exitfuncs()  # such as W&B's
    sys.stdout.flush()
    os._exit(0)  # DDP keeps gloo's threads, and while the interpreter is taken apart they may abort the process


if __name__ == "__main__":
    main()
