"""A node of a Ray cluster, under torchrun: the first node runs the driver, every other one a Ray worker. See ray.toml.

    ray_node.py --port 6379 [--worker "--num-cpus 8"] python -m my_driver …

The head is a service of the run. The driver starts when all nodes have joined it, and finds it by RAY_ADDRESS. When the
driver has ended, the workers leave.
"""

import argparse
import os
import shlex
import signal
import subprocess
import sys
import time
from types import FrameType

import ray
from torch.distributed import Store
from torch.distributed.rendezvous import rendezvous

ENDED = "the driver has ended"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", required=True, help="the head's port, on the node that torchrun calls the master")
    parser.add_argument("--worker", default="", help="further options of ray start on the other nodes")
    parser.add_argument("driver", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    if os.environ["LOCAL_RANK"] != "0":
        return 0  # there is a rank for each GPU, and one Ray for all of them
    signal.signal(signal.SIGTERM, leave)
    address = f"{os.environ['MASTER_ADDR']}:{arguments.port}"
    store, _, _ = next(rendezvous("env://"))
    if os.environ["GROUP_RANK"] == "0":
        return drive(arguments.driver, address, store)
    return work(shlex.split(arguments.worker), address, store)


def drive(command: list[str], address: str, store: Store) -> int:
    """Run the driver once the cluster is complete."""
    nodes = int(os.environ["GROUP_WORLD_SIZE"])
    wait_for_nodes(nodes, address)
    print(f"the cluster at {address} has {nodes} nodes: starting {shlex.join(command)}", flush=True)
    exit_code = until_it_ends(subprocess.Popen(command, env={**os.environ, "RAY_ADDRESS": address}), None)
    if exit_code == 0:
        store.set(ENDED, "")
    return exit_code


def wait_for_nodes(count: int, address: str) -> None:
    ray.init(address, log_to_driver=False)
    while sum(node["Alive"] for node in ray.nodes()) < count:
        time.sleep(0.2)
    ray.shutdown()


def work(options: list[str], address: str, store: Store) -> int:
    """Be a Ray worker for as long as the driver runs."""
    return until_it_ends(subprocess.Popen(["ray", "start", "--block", "--address", address, *options]), store)


def until_it_ends(process: subprocess.Popen[bytes], store: Store | None) -> int:
    """The exit code of `process`, or 0 if the driver ended before it. However this program ends, `process` ends too."""
    try:
        while store is None or not store.check([ENDED]):
            try:
                exit_code = process.wait(0.2)
            except subprocess.TimeoutExpired:
                continue
            return exit_code if exit_code >= 0 else 128 - exit_code
        return 0
    finally:
        process.terminate()
        process.wait()


def leave(signum: int, _: FrameType | None) -> None:
    sys.exit(128 + signum)


if __name__ == "__main__":
    sys.exit(main())
