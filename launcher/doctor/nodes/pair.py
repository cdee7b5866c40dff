"""All-reduces between two nodes: a process that lives as long as `launch doctor`, since the import of torch takes long.

It reads a task a line from stdin, and ends with it. Rank 0 answers with a port first, both with the seconds.
"""

import json
import subprocess
import sys
import time
from contextlib import suppress
from datetime import timedelta
from typing import Any

SIZE = 64_000_000  # bytes
TIMES = 3
SECONDS = 45.0  # for two nodes to find each other
START_SECONDS = 120.0  # for the import of torch


class Pairs:
    """The process, from outside. `ask` and `hear` raise OSError when it does not answer."""

    def __init__(self) -> None:
        command = [sys.executable, "-P", "-m", "launcher.doctor.nodes.pair"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def ask(self, task: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        return self.hear()

    def hear(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise OSError(f"the process for all-reduces has ended: exit code {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                with suppress(OSError):
                    stream.close()


def main() -> None:
    """Everything in order, one task after the other."""
    for line in sys.stdin:
        try:
            answer = _reduce(json.loads(line))
        except Exception as error:
            answer = {"trouble": (str(error).strip().splitlines() or [repr(error)])[0][:300]}
        print(json.dumps(answer), flush=True)


def _reduce(task: dict[str, Any]) -> dict[str, Any]:
    import torch
    import torch.distributed as dist
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    rank, limit = task["rank"], timedelta(seconds=SECONDS)
    host = task["host"] if rank else "localhost"
    store = TCPStore(host, task["port"], 2, is_master=not rank, timeout=limit, wait_for_workers=False)
    if not rank:
        print(json.dumps({"port": store.port}), flush=True)
    device = "cuda" if task["backend"] == "nccl" else "cpu"
    dist.init_process_group(task["backend"], store=store, rank=rank, world_size=2, timeout=limit)
    try:
        tensor = torch.ones(SIZE // 4, device=device)
        dist.all_reduce(tensor)  # finds the way
        began = time.perf_counter()
        for _ in range(TIMES):
            dist.all_reduce(tensor)
        if device == "cuda":
            torch.cuda.synchronize()
        return {"seconds": (time.perf_counter() - began) / TIMES}
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
