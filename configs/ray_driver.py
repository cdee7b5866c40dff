"""A driver for Ray, where yours would stand (verl, slime, …): an actor on each node, which do their steps together."""

import argparse
import socket
from typing import Any

import ray


@ray.remote(num_cpus=1, scheduling_strategy="SPREAD")
class Worker:
    def roll(self, step: int) -> int:
        return sum(range(step))

    def where(self) -> str:
        return f"{socket.gethostname()}, Ray node {ray.get_runtime_context().get_node_id()[:8]}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=20)
    steps = parser.parse_args().steps
    ray.init()  # RAY_ADDRESS says where
    workers: list[Any] = [Worker.remote() for _ in ray.nodes()]  # type: ignore[attr-defined]
    for index, where in enumerate(ray.get([worker.where.remote() for worker in workers])):
        print(f"worker {index} is on {where}", flush=True)
    for step in range(1, steps + 1):
        total = sum(ray.get([worker.roll.remote(step) for worker in workers]))
        print(f"step {step} total {total}", flush=True)


if __name__ == "__main__":
    main()
