"""Nodes with a network between them, which is cut, or delays and loses packets: network namespaces of this host."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from tests.bad_cable import BadCable
from tests.launching import Launched, Launcher

ENDPOINT = "10.213.0.1:29500"
SCRIPT = """
import os, signal
print("rank", os.environ["RANK"], "is there", flush=True)
os.environ["LAUNCH_ATTEMPT"] == "1" and signal.pause()
"""


def ip(*words: str) -> bool:
    try:
        return subprocess.run(["ip", *words], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.fixture
def spaces() -> Iterator[tuple[str, ...]]:
    """The names of three network namespaces, with a cable from each to a switch in the first one."""
    names = tuple(f"run{os.getpid()}{letter}" for letter in "abc")  # an interface has 15 characters
    try:
        if not all(ip("netns", "add", name) for name in names):
            pytest.skip("no network namespaces: `ip` and root are needed")
        first = names[0]
        assert ip("-n", first, "link", "add", "name", first, "type", "bridge")
        for name in names[1:]:
            cable = ("name", name, "netns", first, "type", "veth", "peer", "name", name, "netns", name)
            assert ip("link", "add", *cable)
            assert ip("-n", first, "link", "set", "dev", name, "up", "master", first)
        for number, name in enumerate(names, start=1):
            assert ip("-n", name, "addr", "add", f"10.213.0.{number}/24", "dev", name)
            assert ip("-n", name, "link", "set", "dev", "lo", "up")
            assert ip("-n", name, "link", "set", "dev", name, "up")
        yield names
    finally:
        for name in names:
            ip("netns", "del", name)


@pytest.fixture
def start(launch: Launcher, spaces: tuple[str, ...]) -> Callable[..., Launched]:
    """Starts a node in its namespace."""
    (launch.directory / "script.py").write_text(SCRIPT)

    def start_node(node: int, *more: str) -> Launched:
        meeting = ("--nnodes", "2", "--node-rank", str(node), "--rdzv-endpoint", ENDPOINT)
        program = ("--trainer.script", "script.py", "--output-dir", f"run_{node}", "--no-tmux", "--grace", "1s")
        return launch("sft", *meeting, *program, *more, wrapper=("ip", "netns", "exec", spaces[node]))

    return start_node


@pytest.mark.slow
def test_a_network_that_goes_away_without_a_word_ends_the_run_on_both_sides_within_half_a_minute(
    start: Callable[..., Launched], spaces: tuple[str, ...]
) -> None:
    nodes = [start(0), start(1)]
    for rank, launched in enumerate(nodes):
        launched.wait_for_output(f"[trainer0]:rank {rank} is there")
    assert ip("-n", spaces[1], "link", "set", "dev", spaces[1], "down")
    cut = time.monotonic()
    assert [launched.exit_code() for launched in nodes] == [1, 1]
    assert time.monotonic() - cut < 45  # the grace, and the margin for a node that does not answer, included
    for node, launched in enumerate(nodes):
        assert f"FAILED  node {1 - node}: its launch cannot be reached any more" in launched.output


@pytest.mark.slow
def test_a_spare_takes_the_place_of_a_node_that_no_packet_reaches(
    start: Callable[..., Launched], spaces: tuple[str, ...]
) -> None:
    nodes = [start(node, "--spare-nodes", "1", "--max-restarts", "1") for node in range(3)]
    for rank, launched in enumerate(nodes[:2]):
        launched.wait_for_output(f"[trainer0]:rank {rank} is there")
    assert ip("-n", spaces[1], "link", "set", "dev", spaces[1], "down")
    assert [nodes[node].exit_code() for node in (0, 2, 1)] == [0, 0, 1]
    assert "node 2 takes its place" in nodes[0].output
    assert "[trainer0]:rank 1 is there" in nodes[2].output
    assert "FAILED  node 0: its launch cannot be reached any more" in nodes[1].output


# --- a bad cable ------------------------------------------------------------------------------------------------------

FAILS_ONCE = """
import os, sys, time
first = os.environ["LAUNCH_ATTEMPT"] == "1"
print("rank", os.environ["RANK"], "is there in attempt", os.environ["LAUNCH_ATTEMPT"], flush=True)
time.sleep(12 if first else 1)
sys.exit(3 if first and os.environ["RANK"] == "1" else 0)
"""


@pytest.fixture
def bad_cable() -> Iterator[tuple[BadCable, tuple[str, ...]]]:
    """A cable with a delay of 0.1 s that loses a packet in 20, and the namespaces at its ends."""
    names = tuple(f"bad{os.getpid()}{letter}" for letter in "ab")
    cable = None
    try:
        if not all(ip("netns", "add", name) for name in names):
            pytest.skip("no network namespaces: `ip` and root are needed")
        try:
            cable = BadCable((names[0], names[1]), delay=0.1, loss=0.05)
        except OSError:
            pytest.skip("no TAP devices: /dev/net/tun is needed")
        for number, name in enumerate(names, start=1):
            assert ip("link", "set", "dev", name, "netns", name)
            assert ip("-n", name, "addr", "add", f"10.213.0.{number}/24", "dev", name)
            assert ip("-n", name, "link", "set", "dev", "lo", "up")
            assert ip("-n", name, "link", "set", "dev", name, "up")
        yield cable, names
    finally:
        if cable:
            cable.close()
        for name in names:
            ip("netns", "del", name)


@pytest.mark.slow
def test_nodes_whose_packets_are_late_and_lost_restart_together_and_finish(
    launch: Launcher, bad_cable: tuple[BadCable, tuple[str, ...]]
) -> None:
    cable, spaces = bad_cable
    (launch.directory / "script.py").write_text(FAILS_ONCE)
    meeting = ("--nnodes", "2", "--rdzv-endpoint", ENDPOINT, "--max-restarts", "1", "--trainer.script", "script.py")
    nodes = [
        launch(
            *("sft", *meeting, "--node-rank", str(node), "--output-dir", f"run_{node}", "--no-tmux"),
            wrapper=("ip", "netns", "exec", spaces[node]),
        )
        for node in (0, 1)
    ]
    assert [launched.exit_code() for launched in nodes] == [0, 0], nodes[0].output
    for rank, launched in enumerate(nodes):
        assert f"rank {rank} is there in attempt 2" in launched.output
    assert cable.lost > 0
