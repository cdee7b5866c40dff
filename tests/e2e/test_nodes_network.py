"""Two nodes with a network between them, which is cut: network namespaces of this host."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.launching import Launched, Launcher

ENDPOINT = "10.213.0.1:29500"
SCRIPT = """
import os, signal
print("rank", os.environ["RANK"], "is there", flush=True)
signal.pause()
"""


def ip(*words: str) -> bool:
    try:
        return subprocess.run(["ip", *words], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.fixture
def spaces(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The names of two network namespaces with a cable between them, whose ends are called like those."""
    names = (f"run{os.getpid()}a", f"run{os.getpid()}b")  # an interface has 15 characters
    try:
        if not all(ip("netns", "add", name) for name in names):
            pytest.skip("no network namespaces: `ip` and root are needed")
        cable = ("name", names[0], "netns", names[0], "type", "veth", "peer", "name", names[1], "netns", names[1])
        assert ip("link", "add", *cable)
        for number, name in enumerate(names, start=1):
            assert ip("-n", name, "addr", "add", f"10.213.0.{number}/24", "dev", name)
            assert ip("-n", name, "link", "set", "dev", "lo", "up")
            assert ip("-n", name, "link", "set", "dev", name, "up")
        yield names
    finally:
        for name in names:
            ip("netns", "del", name)


@pytest.fixture
def start(launch: Launcher, spaces: tuple[str, str]) -> Callable[[int], Launched]:
    """Starts a node in its namespace."""
    (launch.directory / "script.py").write_text(SCRIPT)

    def start_node(node: int) -> Launched:
        meeting = ("--nnodes", "2", "--node-rank", str(node), "--rdzv-endpoint", ENDPOINT)
        program = ("--trainer.script", "script.py", "--output-dir", f"run_{node}", "--no-tmux", "--grace", "1s")
        return launch("sft", *meeting, *program, wrapper=("ip", "netns", "exec", spaces[node]))

    return start_node


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_network_that_goes_away_without_a_word_ends_the_run_on_both_sides_within_half_a_minute(
    start: Callable[[int], Launched], spaces: tuple[str, str]
) -> None:
    nodes = [start(0), start(1)]
    for rank, launched in enumerate(nodes):
        launched.wait_for_output(f"[trainer0]:rank {rank} is there")
    assert ip("-n", spaces[1], "link", "set", "dev", spaces[1], "down")
    cut = time.monotonic()
    assert [launched.exit_code(60) for launched in nodes] == [1, 1]
    assert time.monotonic() - cut < 45  # the grace, and the margin for a node that does not answer, included
    for node, launched in enumerate(nodes):
        assert f"FAILED  node {1 - node}: its launch cannot be reached any more" in launched.output
