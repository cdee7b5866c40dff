"""A PyTorch Lightning module with DDP, as its users write it; it knows nothing of launch. See lightning_ddp.toml."""

import argparse
import atexit
import os
import sys

import lightning
import torch
from torch.utils.data import DataLoader, TensorDataset


class Regression(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(8, 1)
        self.target = torch.arange(8.0)

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        (x,) = batch  # (B, features)
        loss = (self.layer(x).squeeze(-1) - x @ self.target.to(x.device)).square().mean()
        self.print(f"step {self.global_step + 1} loss {loss.item():.4f}", flush=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.05)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--output-dir", required=True)
    arguments = parser.parse_args()
    data = DataLoader(TensorDataset(torch.randn(4096, 8)), batch_size=64)
    trainer = lightning.Trainer(
        strategy="ddp",
        devices=int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
        max_steps=arguments.steps,
        default_root_dir=arguments.output_dir,
        logger=False,
        enable_progress_bar=False,
    )
    trainer.fit(Regression(), data)
    atexit._run_exitfuncs()  # such as W&B's
    sys.stdout.flush()
    os._exit(0)  # DDP keeps gloo's threads, and while the interpreter is taken apart they may abort the process


if __name__ == "__main__":
    main()
