"""`launch doctor --nodes`: real launches that meet on loopback and check each other."""

import json
import os
import signal

import pytest

from launcher.doctor.nodes.checks import rounds
from tests.launching import Launched, Launcher
from tests.several_nodes import free_endpoint
from tests.waiting import until


def doctor(launch: Launcher, endpoint: str, node: int, nodes: int, *more: str) -> Launched:
    where = ("--nodes", str(nodes), "--node-rank", str(node), "--rdzv-endpoint", endpoint)
    return launch("doctor", *where, *more)


@pytest.mark.slow
def test_three_nodes_check_each_other_and_one_whose_directory_is_its_own_is_named(launch: Launcher) -> None:
    endpoint = free_endpoint()
    others = [doctor(launch, endpoint, 1, 3), doctor(launch, endpoint, 2, 3, "--output-dir", "own")]
    first = doctor(launch, endpoint, 0, 3, "--json")
    assert first.exit_code() == 0, first.output
    assert [other.exit_code() for other in others] == [0, 0]
    checks = json.loads(first.output[first.output.index("[\n") :])
    found = {check["name"]: check for check in checks}
    assert found.keys() == {"node 0", "node 1", "node 2", "versions", "clocks", "directory", "ports", "all-reduce"}
    assert {name for name, check in found.items() if check["state"] != "ok"} - {"all-reduce"} == {"directory"}
    assert "is not that of node 2: launch rl needs a shared one" in found["directory"]["found"]
    for pair in ("0-1", "0-2", "1-2"):
        assert f"{pair} " in found["all-reduce"]["found"]
    assert "GB/s" in found["all-reduce"]["found"]
    until(lambda: not launch.alive())


@pytest.mark.slow
def test_ctrl_c_on_node_0_ends_the_checks_on_all_nodes(launch: Launcher) -> None:
    endpoint = free_endpoint()
    first, other = doctor(launch, endpoint, 0, 2), doctor(launch, endpoint, 1, 2)
    other.wait_for_output("node 1 is being checked")
    first.process.send_signal(signal.SIGINT)
    assert first.exit_code() != 0
    assert other.exit_code() == 2
    assert "node 0 has ended before the checks" in other.output
    until(lambda: not launch.alive())


@pytest.mark.slow
def test_a_node_that_is_killed_meanwhile_is_named_and_nothing_is_left(launch: Launcher) -> None:
    endpoint = free_endpoint()
    first, other = doctor(launch, endpoint, 0, 2), doctor(launch, endpoint, 1, 2)
    other.wait_for_output("node 1 is being checked")
    os.kill(other.process.pid, signal.SIGKILL)
    assert first.exit_code() == 1
    assert "fail  node 1        its launch is gone" in first.output
    other.exit_code()
    until(lambda: not launch.alive())


def test_a_node_that_does_not_come_is_named(launch: Launcher) -> None:
    first = doctor(launch, free_endpoint(), 0, 3, "--join-timeout", "0.2s")
    assert first.exit_code() == 2
    assert "did not join within 0.2s: nodes 1, 2 of 3" in first.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--node-rank", "1"), "--node-rank is for several nodes"),
        (("--nodes", "1"), "--nodes 1: two nodes or more"),
        (("--nodes", "2"), "launch doctor on 2 nodes needs --node-rank and --rdzv-endpoint"),
        (("--nodes", "2", "--node-rank", "2", "--rdzv-endpoint", "gpu01"), "--node-rank 2: there are 2 nodes"),
    ],
)
def test_what_is_missing_is_named(launch: Launcher, arguments: tuple[str, ...], message: str) -> None:
    done = launch.command("doctor", *arguments)
    assert done.returncode == 2
    assert message in done.stdout + done.stderr


def test_in_a_round_no_node_has_two_pairs_and_every_pair_has_its_turn() -> None:
    made = list(rounds(6))
    for pairs in made:
        nodes = [node for pair in pairs for node in pair]
        assert len(nodes) == len(set(nodes))
    assert sorted(pair for pairs in made for pair in pairs) == [(a, b) for a in range(6) for b in range(a + 1, 6)]
