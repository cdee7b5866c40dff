"""TRL's SFTTrainer, as its users write it; it knows nothing of launch. See trl_sft.toml."""

import atexit
import os
import sys
from dataclasses import dataclass

import torch.distributed as dist
from datasets import Dataset
from trl import ModelConfig, SFTConfig, SFTTrainer, TrlParser

WORDS = ("apple", "pear", "plum", "grape", "melon", "lemon", "peach", "mango")


@dataclass
class DataArguments:
    pairs: int = 64


def main() -> None:
    data, config, model = TrlParser((DataArguments, SFTConfig, ModelConfig)).parse_args_and_config()
    words = [WORDS[i % len(WORDS)] for i in range(data.pairs)]
    pairs = Dataset.from_list([{"prompt": f"reverse {word} ", "completion": word[::-1]} for word in words])
    SFTTrainer(model.model_name_or_path, config, train_dataset=pairs).train()
    if dist.is_initialized():
        dist.destroy_process_group()
    atexit._run_exitfuncs()  # such as W&B's
    sys.stdout.flush()
    os._exit(0)  # DDP keeps gloo's threads, and while the interpreter is taken apart they may abort the process


if __name__ == "__main__":
    main()
