"""In place of prime-rl's trainer, which needs a GPU: reads the batches, and writes weights that differ a little."""

import shutil
import time
from pathlib import Path

from prime_rl.configs.trainer import TrainerConfig
from prime_rl.transports.rollouts import setup_micro_batch_receiver
from prime_rl.utils.config import cli
from prime_rl.utils.logger import format_time, get_logger, setup_logger
from prime_rl.utils.pathing import get_broadcast_dir, get_step_path
from safetensors.torch import load_file, save_file


def broadcast(config: TrainerConfig, step: int) -> None:
    """As prime-rl's transports/weights/filesystem.py: a checkpoint, then the file that says it is complete."""
    model, directory = Path(config.model.name), get_step_path(get_broadcast_dir(config.output_dir), step)
    shutil.copytree(model, directory)
    weights = {name: tensor * (1 + step / 100) for name, tensor in load_file(model / "model.safetensors").items()}
    save_file(weights, directory / "model.safetensors", {"format": "pt"})
    (directory / "STABLE").touch()


def train(config: TrainerConfig) -> None:
    broadcast(config, 0)
    receiver = setup_micro_batch_receiver(config.output_dir, 0, 1, config.rollout_transport)
    for step in range(1, config.max_steps + 1):
        begun = time.time()
        receiver.wait()
        micro_batches = receiver.receive()
        if not any(token for batch in micro_batches for token in batch.loss_mask):
            raise ValueError(f"the batch of step {step} has no token to learn from")
        get_logger().success(  # the line as in prime-rl's train.py
            f"Step {step} | {format_time(time.time() - begun):>7} | Loss {0:.4f} | Entropy {0:.4f} | "
            f"Mismatch KL 0.0000 | Grad. Norm {0:.4f} | LR 3.00e-06 | Throughput 12 tokens/s"
        )
        broadcast(config, step)


setup_logger("info")
train(cli(TrainerConfig))
