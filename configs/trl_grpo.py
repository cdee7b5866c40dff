"""TRL's GRPOTrainer with its own reward function. It does not know about launch. See trl_grpo.toml."""

import atexit
import os
import sys
from dataclasses import dataclass

import torch.distributed as dist
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer, ModelConfig, TrlParser

WORDS = ("apple", "pear", "plum", "grape", "melon", "lemon", "peach", "mango")


@dataclass
class DataArguments:
    prompts: int = 64


def reversed_share(prompts: list[str], completions: list[str], **_: object) -> list[float]:
    """The share of letters that are right in the reversed word."""
    pairs = zip(prompts, completions, strict=True)
    return [_share(prompt.split()[-1][::-1], completion) for prompt, completion in pairs]


def _share(wanted: str, got: str) -> float:
    return sum(a == b for a, b in zip(wanted, got, strict=False)) / len(wanted)


def main() -> None:
    data, config, model = TrlParser((DataArguments, GRPOConfig, ModelConfig)).parse_args_and_config()
    prompts = [{"prompt": f"reverse {WORDS[i % len(WORDS)]} "} for i in range(data.prompts)]
    GRPOTrainer(model.model_name_or_path, reversed_share, config, train_dataset=Dataset.from_list(prompts)).train()
    if dist.is_initialized():
        dist.destroy_process_group()
    atexit._run_exitfuncs()  # such as W&B's
    sys.stdout.flush()
    os._exit(0)  # DDP keeps gloo's threads, and while the interpreter is taken apart they may abort the process


if __name__ == "__main__":
    main()
