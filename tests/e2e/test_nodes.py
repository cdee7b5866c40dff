"""One run on two nodes, started by hand: real launches that meet on loopback."""

import os
import signal
import time

import pytest
import torch

from launcher.runs.state import read_state
from tests.launching import Launcher, kill_at_once
from tests.several_nodes import Nodes
from tests.waiting import until
from tests.workload.training.checking import training_state

pytestmark = pytest.mark.slow  # several launches each, minutes in all

PATIENT = """
import os, signal
print("rank", os.environ["RANK"], "is there", flush=True)
signal.pause()
"""
FAILS_ON_NODE_1 = """
import os, pathlib, time
print("rank", os.environ["RANK"], "is there", flush=True)
while os.environ["RANK"] != "1" or not pathlib.Path("fail").exists():
    time.sleep(0.01)
raise RuntimeError("fails on purpose")
"""


def sft(launch: Launcher, script: str, *arguments: str, shared: bool = True) -> Nodes:
    """A script that waits, once a rank of it is there on each of two nodes."""
    (launch.directory / "script.py").write_text(script)
    nodes = Nodes(launch, "sft", "--nnodes", "2", "--trainer.script", "script.py", *arguments, shared=shared)
    for rank, launched in enumerate(nodes.launched):
        launched.wait_for_output(f"[trainer0]:rank {rank} is there")
        nodes.wait_for_rank(rank)
    return nodes


def test_a_training_over_two_nodes_that_share_a_directory_is_one_run(launch: Launcher) -> None:
    nodes = Nodes(launch, "sft", "--nnodes", "2", "--max-steps", "5")
    assert nodes.exit_codes() == [0, 0], nodes.outputs()
    root = nodes.run(0)
    assert len(root.metrics("trainer").read_text().splitlines()) == 6
    assert [path.name for path in root.checkpoints.iterdir()] == ["step_5"]
    for node in (0, 1):
        logs = root.attempt_logs / f"node_{node}"
        assert "step 5/5" in (logs / "trainer" / f"rank_{node}.log").read_text()
        assert {path.name for path in logs.iterdir()} >= {"launcher.log", "trainer", "trainer.log", "torchrun"}
        assert (nodes.state(node).state, nodes.state(node).node, nodes.state(node).nodes) == ("finished", node, 2)


def test_nodes_with_directories_of_their_own_train_and_go_on_as_if_they_had_never_been_stopped(
    launch: Launcher,
) -> None:
    in_one_go = Nodes(launch, "sft", "--nnodes", "2", "--max-steps", "6")
    assert in_one_go.exit_codes() == [0, 0], in_one_go.outputs()
    nodes = Nodes(launch, "sft", "--nnodes", "2", "--max-steps", "4", shared=False)
    assert nodes.exit_codes() == [0, 0], nodes.outputs()
    assert not nodes.run(1).checkpoints.exists()
    nodes.resume("--max-steps", "6")
    assert nodes.exit_codes() == [0, 0], nodes.outputs()
    for node in (0, 1):
        assert nodes.state(node).attempt == 2
        log = nodes.run(node).of(2).rank_log(node).read_text()
        assert "step 5/6" in log
        assert "step 4/6" not in log
    checkpoints = [its.run(0).checkpoint(6) for its in (in_one_go, nodes)]
    files = [(checkpoint / "model.safetensors").read_bytes() for checkpoint in checkpoints]
    assert files[0] == files[1]
    ours, theirs = map(training_state, checkpoints)
    assert ours.keys() == theirs.keys() and len(ours) > 20
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def test_a_rank_that_fails_on_another_node_ends_the_run_with_its_words_on_all(launch: Launcher) -> None:
    nodes = sft(launch, FAILS_ON_NODE_1)
    (launch.directory / "fail").touch()
    assert nodes.exit_codes() == [1, 1]
    for node in (0, 1):
        output = nodes.launched[node].output
        assert f"FAILED  trainer rank 1 on node 1 ({os.uname().nodename}): exit code 1" in output
        assert "RuntimeError: fails on purpose" in output
        failure = nodes.state(node).failure
        assert failure is not None
        assert (failure.rank, failure.node) == (1, 1)
        assert "/node_1/torchrun/" in str(failure.log)


@pytest.mark.parametrize("node", [0, 1])
@pytest.mark.parametrize("victims", [("guard",), ("supervisor",), ("rank 0",), ("guard", "supervisor")])
def test_a_node_that_is_killed_in_mid_run_ends_the_run_on_the_other(
    launch: Launcher, node: int, victims: tuple[str, ...]
) -> None:
    nodes = sft(launch, PATIENT)
    state = nodes.state(node)
    rank = state.processes[0].ranks[0].process
    known = {"guard": state.guard, "supervisor": state.supervisor, "rank 0": rank}
    pids = [found.pid for name in victims if (found := known[name])]
    assert len(pids) == len(victims)
    killed = time.monotonic()
    kill_at_once(pids)
    other = nodes.launched[1 - node]
    assert other.exit_code() == 1
    assert time.monotonic() - killed < 20  # of the 30 that the grace may take
    assert f"node {node}" in other.output[other.output.index("FAILED") :].splitlines()[0]
    nodes.exit_codes()
    until(lambda: not launch.alive())


def test_a_rank_that_is_killed_in_training_is_the_culprit_and_not_the_one_that_lost_its_connection(
    launch: Launcher,
) -> None:
    nodes = Nodes(launch, "sft", "--nnodes", "2", "--max-steps", "100000")
    nodes.launched[0].wait_for_output("step 5/")
    os.kill(nodes.wait_for_rank(1), signal.SIGKILL)
    assert nodes.exit_codes() == [1, 1]
    for launched in nodes.launched:
        assert f"FAILED  trainer rank 1 on node 1 ({os.uname().nodename}): SIGKILL" in launched.output


@pytest.mark.parametrize("node", [0, 1])
def test_ctrl_c_on_one_node_stops_the_run_on_both(launch: Launcher, node: int) -> None:
    nodes = sft(launch, PATIENT)
    nodes.launched[node].process.send_signal(signal.SIGINT)
    assert nodes.exit_codes() == [130, 130]
    assert [nodes.state(each).state for each in (0, 1)] == ["stopped", "stopped"]


def test_a_second_ctrl_c_kills_what_ignores_the_first_on_all_nodes(launch: Launcher) -> None:
    deaf = f"import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n{PATIENT}"
    nodes = sft(launch, deaf, "--grace", "600s")
    nodes.launched[0].process.send_signal(signal.SIGINT)
    nodes.launched[1].wait_for_output(f"stopping: stopped by pid {os.getpid()} ")
    assert f", uid {os.getuid()}) on node 0; grace " in nodes.launched[1].output
    nodes.launched[0].process.send_signal(signal.SIGINT)
    assert nodes.exit_codes() == [130, 130]


@pytest.mark.parametrize("shared", [True, False])
def test_a_rank_that_is_killed_on_another_node_makes_all_nodes_begin_the_next_attempt(
    launch: Launcher, shared: bool
) -> None:
    steps = ("--max-steps", "120", "--trainer.checkpoint.interval", "3")
    nodes = Nodes(launch, "sft", "--nnodes", "2", "--max-restarts", "2", *steps, shared=shared)
    nodes.launched[0].wait_for_output("step 7/")
    os.kill(nodes.wait_for_rank(1), signal.SIGKILL)
    assert nodes.exit_codes() == [0, 0], nodes.outputs()
    for node in (0, 1):
        state = nodes.state(node)
        assert (state.state, state.attempt, [each.state for each in state.earlier]) == ("finished", 2, ["failed"])
        verdict = state.earlier[0].verdict
        assert verdict is not None and verdict.kind == "signal" and verdict.again
        log = (nodes.run(node).of(1).launcher_log).read_text()
        assert f"FAILED  trainer rank 1 on node 1 ({os.uname().nodename}): SIGKILL" in log
        made = nodes.run(node).of(2).rank_log(node).read_text()
        assert "step 120/120" in made and "step 3/120" not in made
    until(lambda: not launch.alive())


def test_a_program_that_fails_in_the_same_way_on_two_nodes_ends_the_run_on_both(launch: Launcher) -> None:
    nodes = sft(launch, FAILS_ON_NODE_1, "--max-restarts", "5", "--restart-backoff", "0s")
    (launch.directory / "fail").touch()
    assert nodes.exit_codes() == [1, 1], nodes.outputs()
    for node in (0, 1):
        assert nodes.state(node).attempt == 2
        output = nodes.launched[node].output
        assert "RuntimeError: fails on purpose; an earlier attempt failed in the same way" in output
        assert f"FAILED  trainer rank 1 on node 1 ({os.uname().nodename}): exit code 1" in output
    until(lambda: not launch.alive())


@pytest.mark.parametrize("node", [0, 1])
def test_ctrl_c_in_the_pause_between_two_attempts_ends_the_run_on_all_nodes(launch: Launcher, node: int) -> None:
    nodes = sft(launch, FAILS_ON_NODE_1, "--max-restarts", "1", "--restart-backoff", "10m")
    (launch.directory / "fail").touch()
    for launched in nodes.launched:
        launched.wait_for_output("restarts in 10m 00s")
    nodes.launched[node].process.send_signal(signal.SIGINT)
    assert nodes.exit_codes() == [130, 130]
    assert [nodes.state(each).state for each in (0, 1)] == ["stopped", "stopped"]
    until(lambda: not launch.alive())


def test_a_node_whose_launch_dies_between_two_attempts_ends_the_run(launch: Launcher) -> None:
    nodes = sft(launch, FAILS_ON_NODE_1, "--max-restarts", "1", "--restart-backoff", "10m")
    (launch.directory / "fail").touch()
    for launched in nodes.launched:
        launched.wait_for_output("restarts in 10m 00s")
    guard = nodes.state(1).guard
    assert guard is not None
    os.kill(guard.pid, signal.SIGKILL)
    assert nodes.launched[0].exit_code() == 1
    verdict = nodes.state(0).verdict
    assert nodes.state(0).state == "failed"
    assert verdict is not None and verdict.text.startswith("no restart: ") and " node 1: " in verdict.text
    assert f"  verdict     {verdict.text}" in nodes.launched[0].output
    nodes.exit_codes()
    until(lambda: not launch.alive())


def test_a_node_that_does_not_come_is_named_and_nothing_is_started(launch: Launcher) -> None:
    nodes = Nodes(launch, "sft", "--nnodes", "3", count=0)
    last = nodes.type(2, "sft", "--nnodes", "3", "--output-dir", "run")
    last.wait_for_output("node 2 waits")
    first = nodes.type(0, "sft", "--nnodes", "3", "--join-timeout", "10s", "--output-dir", "run")
    first.wait_for_output("node 2 ")
    assert (first.exit_code(), last.exit_code()) == (2, 2)
    assert "did not join within 10s: node 1 of 3" in first.output
    assert "node 1 of 3" in last.output
    assert not nodes.directory(0).exists()


def test_a_node_with_another_number_of_ranks_is_refused_and_may_come_again(launch: Launcher) -> None:
    nodes = Nodes(launch, "sft", "--nnodes", "2", "--max-steps", "2", "--nproc", "1", count=1)
    refused = nodes.type(1, "sft", "--nnodes", "2", "--nproc", "2")
    assert refused.exit_code() == 2
    assert "ranks per node: 2 on node 1, 1 on node 0" in refused.output
    nodes.launched.append(nodes.start(1))
    assert nodes.exit_codes() == [0, 0], nodes.outputs()


def test_a_node_whose_directory_holds_a_run_says_so_without_waiting_for_the_others(launch: Launcher) -> None:
    nodes = Nodes(launch, "sft", "--nnodes", "2", count=0, shared=False)
    nodes.run(1).own.mkdir(parents=True)
    nodes.run(1).state.write_text("{}")
    refused = nodes.start(1)
    assert refused.exit_code() == 2
    assert "holds a run already" in refused.output


def test_a_node_that_cannot_begin_ends_the_run_with_its_reason(launch: Launcher) -> None:
    nodes = Nodes(launch, "sft", "--nnodes", "2", count=0, shared=False)
    second = nodes.type(1, "sft", "--nnodes", "2", "--name", "otter", "--output-dir", "run_1")
    second.wait_for_output("node 1 waits")
    nodes.directory(1).write_text("a file where the directory should be")
    first = nodes.type(0, "sft", "--nnodes", "2", "--name", "otter", "--output-dir", "run_0")
    assert (first.exit_code(), second.exit_code()) == (1, 2)
    for launched in (first, second):
        assert "run_1/nodes: cannot be written: Not a directory" in launched.output
        assert "has sent nothing more" not in launched.output


def test_a_command_that_is_detached_returns_on_each_node_when_all_has_started(launch: Launcher) -> None:
    (launch.directory / "script.py").write_text(PATIENT)
    nodes = Nodes(launch, "sft", "--nnodes", "2", "--trainer.script", "script.py", "--detach")
    assert nodes.exit_codes() == [0, 0], nodes.outputs()
    supervisor = nodes.state(1).supervisor
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGTERM)
    until(lambda: not launch.alive())
    assert [nodes.state(node).exit_code for node in (0, 1)] == [143, 143]


def test_inference_has_a_node_of_its_own(launch: Launcher) -> None:
    nodes = Nodes(launch, "rl", "--nnodes", "1", "--inference.nodes", "1", "--max-steps", "2")
    assert nodes.exit_codes() == [0, 0], nodes.outputs()
    assert [process.name for process in nodes.state(0).processes] == ["trainer", "orchestrator"]
    assert [process.name for process in nodes.state(1).processes] == ["inference"]


def test_the_orchestrator_may_run_beside_the_servers_of_two_nodes(launch: Launcher) -> None:
    beside = ("--inference.nodes", "2", "--orchestrator.beside", "inference")
    nodes = Nodes(launch, "rl", "--nnodes", "1", *beside, "--max-steps", "2", count=3)
    assert nodes.exit_codes() == [0, 0, 0], nodes.outputs()
    assert [process.name for process in nodes.state(1).processes] == ["orchestrator", "inference"]
    state = read_state(nodes.run(2))
    assert state is not None
    assert state.processes[0].ready_after is not None


@pytest.mark.slow
def test_an_rl_run_on_nodes_that_do_not_share_a_directory_is_refused(
    launch: Launcher,
) -> None:
    nodes = Nodes(launch, "rl", "--nnodes", "2", "--max-steps", "2", shared=False)
    nodes.launched[1].wait_for_output("connected to node 0")
    assert nodes.launched[1].exit_code() == 2
    assert "is not the directory of node 0" in nodes.launched[1].output
    assert nodes.launched[0].exit_code() == 1
    assert "is not the directory of node 0" in nodes.launched[0].output
