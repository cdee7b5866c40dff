"""One node's part of `launch doctor --nodes`: it answers what node 0 asks."""

import os
import platform
import secrets
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from launcher.borders.files import overwrite, read_bytes
from launcher.doctor.doctor import examine
from launcher.doctor.nodes.pair import Pairs
from launcher.doctor.software_checks import installed_torch
from launcher.errors import NotNow
from launcher.machine.probe import visible_gpus
from launcher.nodes.channel import Channel

SEEN_WITHIN = 10.0  # seconds that a network file system may take
CONNECT_WITHIN = 5.0

Answer = dict[str, Any]


class Node:
    """What can be asked of a node. Each method is a question; its arguments and its answer are JSON."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.pairs = Pairs()
        self._questions: dict[str, Callable[..., Answer]] = {
            each.__name__: each for each in (self.facts, self.clock, self.sees, self.reaches, self.reduce, self.result)
        }

    def ask(self, question: Answer) -> Answer:
        """The answer; {"trouble": why} if there is none."""
        asked = dict(question)
        try:
            return self._questions[asked.pop("ask")](**asked)
        except (OSError, KeyError, TypeError, ValueError) as error:
            return {"trouble": str(error) or repr(error)}

    def close(self) -> None:
        self.pairs.close()

    def facts(self) -> Answer:
        checks = examine()
        torch, cuda = installed_torch() or ("none", None)
        return {
            "host": platform.node(),
            "launch": version("launch-rl"),
            "Python": platform.python_version(),
            "torch": torch,
            "CUDA": cuda or "none",
            "GPUs": len(visible_gpus(os.environ)),
            "directory": str(self.directory),
            "failed": [[check.name, check.found, check.fix] for check in checks if check.state == "fail"],
        }

    def clock(self) -> Answer:
        return {"time": time.time()}

    def sees(self, name: str, token: str) -> Answer:
        """Whether a file that node 0 has written is there."""
        deadline = time.monotonic() + SEEN_WITHIN
        while True:
            with suppress(OSError):
                os.listdir(self.directory)  # noqa: PTH208 (NFS looks again)
                if read_bytes(self.directory / Path(name).name) == token.encode():
                    return {"seen": True}
            if time.monotonic() > deadline or not self.directory.is_dir():
                return {"seen": False}
            time.sleep(0.2)

    def reaches(self, host: str, port: int) -> Answer:
        try:
            socket.create_connection((host, port), timeout=CONNECT_WITHIN).close()
        except OSError as error:
            return {"trouble": error.strerror or str(error) or "no answer"}
        return {}

    def reduce(self, rank: int, host: str, port: int, backend: str) -> Answer:
        return self.pairs.ask({"rank": rank, "host": host, "port": port, "backend": backend})

    def result(self) -> Answer:
        """Of the all-reduce that this node has opened."""
        return self.pairs.hear()


def answer_node_0(channel: Channel, node: Node) -> int:
    """Answer until node 0 has its result. Returns the exit code. Raises UserError if node 0 is gone."""
    try:
        while (question := channel.receive(None)).get("ask") != "end":
            channel.send(node.ask(question))
    except OSError as error:
        raise NotNow(f"node 0 has ended before the checks: {error}", "see its output for why") from None
    return 1 if question.get("code") else 0


def write_token(directory: Path) -> tuple[Path, str]:
    """A file that the other nodes look for. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    token = secrets.token_hex(16)
    file = directory / f".doctor-{token[:8]}"
    overwrite(file, token.encode())
    return file, token
