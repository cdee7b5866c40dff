"""A bare DDP script, as people have them: linear regression on random data. See own_trainer.toml."""

import argparse
import os
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--save-to", type=Path, required=True)
    arguments = parser.parse_args()

    dist.init_process_group("gloo")
    rank = dist.get_rank()
    torch.manual_seed(rank)  # each rank sees its own data
    model = DistributedDataParallel(torch.nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    target = torch.arange(8.0)
    for step in range(1, arguments.steps + 1):
        x = torch.randn(64, 8)  # (B, features)
        loss = (model(x).squeeze(-1) - x @ target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(f"rank {rank} step {step} loss {loss.item():.4f}", flush=True)
    if rank == 0:
        torch.save(model.module.state_dict(), arguments.save_to / "linear.pt")
    dist.destroy_process_group()
    # One of gloo's threads may let go of a tensor while Python takes itself apart, which aborts the rank (torch 2.13).
    os._exit(0)


if __name__ == "__main__":
    main()
