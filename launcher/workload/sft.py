"""Fine-tune a model on pairs of prompt and completion: those of the task, or a JSONL file of yours.

Started by `launch sft`; by hand:

    torchrun --nproc-per-node 2 -m launcher.workload.sft @ trainer.toml --data.path pairs.jsonl
"""

import sys

from launcher.config.training import SFTTrainerConfig
from launcher.options.entry import load_component
from launcher.workload.entry import quick_imports, run_component


def main() -> None:
    config = load_component(SFTTrainerConfig, sys.argv[1:])
    with quick_imports():
        from launcher.workload.training.sft_trainer import train  # torch is loaded here, so that --help is quick
    run_component("trainer", config, train)


if __name__ == "__main__":
    main()
