"""Runs that outlive the loss of a node: real launches that meet on loopback, one of which is killed."""

import signal
from pathlib import Path

import pytest

from tests.launching import Launcher, kill_at_once
from tests.several_nodes import Nodes
from tests.waiting import until

pytestmark = pytest.mark.slow

PATIENT_AT_FIRST = """
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("rank", os.environ["RANK"], "of", os.environ["WORLD_SIZE"], "is there", flush=True)
os.environ["LAUNCH_ATTEMPT"] == "1" and signal.pause()
"""


def lose(nodes: Nodes, node: int) -> None:
    """Kill everything that the launch of a node has started, and itself, as when its machine dies."""
    until(lambda: all(process.process for process in nodes.state(node).processes))
    if nodes.state(node).processes[0].ranks:
        nodes.wait_for_rank(node)
    state = nodes.state(node)
    own, components = [state.guard, state.watcher, state.supervisor], state.component_processes().values()
    pids = [found.pid for found in (*own, *components) if found]
    assert len(pids) >= 4
    kill_at_once(pids)


def log_of_spare(nodes: Nodes) -> Path:
    return nodes.launch.directory / "state" / "launch" / "spares" / f"{nodes.state(0).name}-node_2.log"


def sft(launch: Launcher, *options: str, count: int, shared: bool = True) -> Nodes:
    """A program that waits in its first attempt, whatever it is told, and ends in the next one."""
    (launch.directory / "script.py").write_text(PATIENT_AT_FIRST)
    program = ("--trainer.script", "script.py", "--max-restarts", "1")
    nodes = Nodes(launch, "sft", "--nnodes", "2", *program, *options, count=count, shared=shared)
    for rank in (0, 1):
        nodes.launched[rank].wait_for_output(f"rank {rank} of 2 is there")
    return nodes


def test_a_spare_takes_the_place_of_a_dead_node_from_the_newest_checkpoint(launch: Launcher) -> None:
    steps = ("--max-steps", "120", "--trainer.checkpoint.interval", "3")
    nodes = Nodes(launch, "sft", "--nnodes", "2", "--spare-nodes", "1", "--max-restarts", "1", *steps, count=3)
    nodes.launched[0].wait_for_output("step 7/")
    nodes.launched[2].wait_for_output("node 2 is a spare: it waits until a node of")
    lose(nodes, 1)
    assert [nodes.launched[node].exit_code() for node in (0, 2)] == [0, 0], nodes.outputs()
    first, spare = nodes.state(0), nodes.state(2)
    assert (first.state, first.attempt, [each.state for each in first.earlier]) == ("finished", 2, ["failed"])
    verdict = first.earlier[0].verdict
    assert verdict is not None and verdict.kind == "lost node"
    assert verdict.text.endswith("; node 2 takes its place")
    assert (spare.state, spare.attempt, spare.node, spare.earlier) == ("finished", 2, 2, [])
    assert [rank.rank for rank in spare.processes[0].ranks] == [1]
    made = nodes.run(2).of(2).rank_log(1).read_text()
    assert "step 120/120" in made and "step 3/120" not in made
    nodes.launched[1].exit_code()
    until(lambda: not launch.alive())


def test_a_spare_needs_no_directory_that_it_shares_and_one_that_has_left_is_not_missed(launch: Launcher) -> None:
    nodes = sft(launch, "--spare-nodes", "2", count=4, shared=False)
    nodes.launched[3].wait_for_output("node 3 is a spare")
    nodes.launched[3].process.send_signal(signal.SIGINT)
    assert nodes.launched[3].exit_code() == 130
    lose(nodes, 1)
    assert [nodes.launched[node].exit_code() for node in (0, 2)] == [0, 0], nodes.outputs()
    assert "rank 1 of 2 is there" in nodes.launched[2].output
    assert not nodes.directory(3).exists(), "it has started nothing"
    nodes.launched[1].exit_code()
    until(lambda: not launch.alive())


def test_a_detached_spare_returns_once_it_waits_and_takes_its_place_later(launch: Launcher) -> None:
    (launch.directory / "script.py").write_text(PATIENT_AT_FIRST)
    program = ("--trainer.script", "script.py", "--max-restarts", "1", "--spare-nodes", "1")
    nodes = Nodes(launch, "sft", "--nnodes", "2", *program, count=2)
    spare = nodes.type(2, *nodes.arguments, "--output-dir", "run", "--detach")
    assert spare.exit_code() == 0, spare.output
    assert "node 2 is a spare: it waits until a node of" in spare.output and "leaves the run with: kill" in spare.output
    assert f"its output: {log_of_spare(nodes)}" in spare.output
    for rank in (0, 1):
        nodes.launched[rank].wait_for_output(f"rank {rank} of 2 is there")
    lose(nodes, 1)
    assert nodes.launched[0].exit_code() == 0, nodes.outputs()
    nodes.launched[1].exit_code()
    until(lambda: not launch.alive())
    assert nodes.state(2).state == "finished"
    assert "node 2 takes the place of node 1" in log_of_spare(nodes).read_text()


def test_a_detached_spare_that_cannot_take_its_place_says_why_in_its_own_log_and_on_node_0(launch: Launcher) -> None:
    (launch.directory / "script.py").write_text(PATIENT_AT_FIRST)
    program = ("--trainer.script", "script.py", "--max-restarts", "1", "--spare-nodes", "1")
    nodes = Nodes(launch, "sft", "--nnodes", "2", *program, count=2, shared=False)
    spare = nodes.type(2, *nodes.arguments, "--output-dir", "run_2", "--detach")
    assert spare.exit_code(120) == 0, spare.output
    for rank in (0, 1):
        nodes.launched[rank].wait_for_output(f"rank {rank} of 2 is there", 180)
    nodes.directory(2).write_text("no directory")
    lose(nodes, 1)
    assert nodes.launched[0].exit_code(180) == 1, nodes.outputs()
    nodes.launched[1].exit_code()
    until(lambda: not launch.alive())
    assert "run_2/nodes: cannot be written" in log_of_spare(nodes).read_text()
    assert "run_2/nodes: cannot be written" in nodes.launched[0].output
    assert nodes.directory(2).read_text() == "no directory"


@pytest.mark.timeout(900)
def test_a_spare_serves_in_the_place_of_a_dead_node_of_inference(launch: Launcher) -> None:
    options = ("--inference.nodes", "1", "--spare-nodes", "1", "--max-restarts", "1")
    steps = ("--max-steps", "40", "--trainer.checkpoint.interval", "1")
    nodes = Nodes(launch, "rl", *options, *steps, count=3)
    nodes.launched[0].wait_for_output("step 1/40", 300)
    lose(nodes, 1)
    assert [nodes.launched[node].exit_code(400) for node in (0, 2)] == [0, 0], nodes.outputs()
    first, spare = nodes.state(0), nodes.state(2)
    assert (first.state, first.attempt, spare.state, spare.attempt) == ("finished", 2, "finished", 2)
    assert [process.name for process in spare.processes] == ["inference"]
    verdict = first.earlier[0].verdict
    assert verdict is not None and verdict.text.endswith("; node 2 takes its place")
    nodes.launched[1].exit_code()
    until(lambda: not launch.alive())


def test_a_run_continues_on_fewer_nodes_and_its_ranks_have_no_grace_after_the_loss(launch: Launcher) -> None:
    nodes = sft(launch, "--min-nodes", "1", "--grace", "1h", count=2)
    lose(nodes, 1)
    nodes.launched[0].wait_for_output("rank 0 of 1 is there")
    assert nodes.launched[0].exit_code() == 0, nodes.outputs()
    assert nodes.state(0).attempt == 2
    nodes.launched[1].exit_code()
    until(lambda: not launch.alive())
