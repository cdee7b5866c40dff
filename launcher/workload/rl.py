"""Train a policy by reinforcement learning on the batches that an orchestrator hands over.

Started by `launch rl`; by hand:

    torchrun --nproc-per-node 2 -m launcher.workload.rl @ trainer.toml

The orchestrator and the inference server have to be started beside it, with the same --output-dir.
"""

import sys

from launcher.config.training import RLTrainerConfig
from launcher.options.entry import load_component
from launcher.workload.entry import quick_imports, run_component


def main() -> None:
    config = load_component(RLTrainerConfig, sys.argv[1:])
    with quick_imports():
        from launcher.workload.training.rl_trainer import train  # torch is loaded here, so that --help is quick
    run_component("trainer", config, train)


if __name__ == "__main__":
    main()
