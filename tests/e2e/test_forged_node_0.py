"""A node 0 that knows the secret and is a stranger's: tmux on the other nodes executes nothing of what it says."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from launcher.nodes.meeting import HELLO
from launcher.nodes.seal import Seal, fingerprint, key_of_session
from tests.launching import Launched, Launcher
from tests.tmux_server import TmuxServer
from tests.waiting import until

SECRET = b"the secret of all nodes"
INJECTION = "#(touch PWNED)#{l:#(touch PWNED)}"
WELCOME = {"name": "otter", "attempt": 1, "run_id": "ab", "hosts": ["n0", "n1"], "inference_ports": [0, 0]}
PATIENT = """
import os, signal
print("rank", os.environ["RANK"], "is there", flush=True)
signal.pause()
"""


class Node0:
    """Says in its turn what it is given, each line sealed."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener, self.port = listener, listener.getsockname()[1] - 1

    def welcome(self, answer: dict[str, Any]) -> None:
        connection, _ = self.listener.accept()
        self.connection = connection
        connection.sendall(json.dumps({"nonce": "n0", "secret": fingerprint(SECRET)}).encode() + b"\n")
        with connection.makefile("rb") as lines:
            hello = HELLO.validate_json(lines.readline().partition(b" ")[2])
        self.seal = Seal(key_of_session(SECRET, ("n0", hello.nonce)), is_node_0=True)
        self.say(answer)

    def say(self, what: dict[str, Any]) -> None:
        self.connection.sendall(self.seal.seal(json.dumps(what).encode()))


@pytest.fixture
def node_0() -> Iterator[Node0]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(60)
        node = Node0(listener)
        yield node
        with suppress(AttributeError):
            node.connection.close()


def start(launch: Launcher, node_0: Node0) -> Launched:
    (launch.directory / "script.py").write_text(PATIENT)
    secret = launch.directory / "secret"
    secret.touch(mode=0o600)
    secret.write_bytes(SECRET)
    meeting = ("--nnodes", "2", "--node-rank", "1", "--rdzv-endpoint", f"127.0.0.1:{node_0.port}")
    program = ("--trainer.script", "script.py", "--output-dir", "run", "--grace", "1s")
    return launch("sft", *meeting, "--join-secret-file", str(secret), *program)


@contextmanager
def looked_at(tmux: TmuxServer) -> Iterator[None]:
    """A client is attached to each session, so that tmux draws its titles and status line."""
    ended = threading.Event()

    def look() -> None:
        seen = set()
        while not ended.wait(0.1):
            for name in tmux.run("list-sessions", "-F", "#{session_name}").splitlines():
                if name.startswith("launch-") and name not in seen:
                    seen.add(name)
                    tmux.open_terminal("/bin/sh", "-c", f"env -u TMUX tmux attach -t '={name}'; exec sleep 60")

    looker = threading.Thread(target=look)
    looker.start()
    try:
        yield
    finally:
        ended.set()
        looker.join()


def planted(launch: Launcher, tmux: TmuxServer) -> list[Path]:
    places = (launch.directory, tmux.home, launch.directory / "run", Path.cwd())
    return [place / "PWNED" for place in places if (place / "PWNED").exists()]


@pytest.mark.parametrize("spoilt", [{"name": INJECTION}, {"hosts": [INJECTION, "n1"]}], ids=["name", "host"])
def test_a_welcome_with_a_format_of_tmux_in_it_starts_nothing(
    tmux: TmuxServer, launch: Launcher, node_0: Node0, spoilt: dict[str, Any]
) -> None:
    tmux.run("new-session", "-d", "-c", str(launch.directory))
    launched = start(launch, node_0)
    node_0.welcome(WELCOME | spoilt)
    assert launched.exit_code() == 2
    assert "Traceback" not in launched.output
    assert [each for each in tmux.run("list-sessions", "-F", "#{session_name}").split() if "launch" in each] == []
    assert planted(launch, tmux) == []
    assert not (launch.directory / "run").exists()


@pytest.mark.slow
def test_reports_with_formats_of_tmux_in_them_are_shown_and_not_executed(
    tmux: TmuxServer, launch: Launcher, node_0: Node0
) -> None:
    tmux.run("new-session", "-d", "-c", str(launch.directory))
    launched = start(launch, node_0)
    node_0.welcome(WELCOME)
    with looked_at(tmux):
        launched.wait_for_output("trainer: started")
        node_0.say({"state": "running", "quiet": [[INJECTION, 100.0]]})
        until(lambda: "launch-otter" in tmux.run("list-clients", "-F", "#{session_name}"))
        culprit = {"component": INJECTION, "what": INJECTION, "node": 0}
        failure = {"component": INJECTION, "rank": 0, "what": INJECTION, "cause": INJECTION, "log": None}
        failure |= {"collateral": [INJECTION], "node": 0, "host": "n0"}
        node_0.say({"state": "failed", "culprit": culprit, "failure": failure, "ended": True})
        assert launched.exit_code() == 1
    assert INJECTION in launched.output
    assert planted(launch, tmux) == []
