"""How many nodes there are, which of them this is, where they meet, and what is refused."""

from pathlib import Path

import pytest

from launcher.errors import UserError
from launcher.plan.build import make_plan
from launcher.plan.rendezvous import Step, check_common_id, plan_nodes
from launcher.rundir import RunDir
from tests.plans import machine, rl, sft, train
from tests.plans import plan_on_node as plan_on

HERE = ("--rdzv-endpoint", "gpu01:29500")
SPARE = ("--nnodes", "3", "--spare-nodes", "2", "--max-restarts", "1", *HERE)


def test_one_node_and_a_range_of_nodes_are_no_business_of_ours() -> None:
    assert plan_nodes(sft()) is None
    assert plan_nodes(sft("--nnodes", "1", "--node-rank", "0")) is None
    assert plan_nodes(sft("--nnodes", "1:4", *HERE)) is None


def test_torchrun_keeps_the_nodes_numbers_by_a_static_rendezvous() -> None:
    argv = plan_on(sft("--nnodes", "3", "--node-rank", "2", *HERE)).processes[0].argv
    for flag in ("--nnodes=3", "--node-rank=2", "--rdzv-backend=static", "--rdzv-endpoint=gpu01:29500"):
        assert flag in argv
    assert "--rdzv-backend=c10d" in plan_on(sft()).processes[0].argv


def test_a_rendezvous_that_was_asked_for_is_kept_and_what_it_means_is_said() -> None:
    plan = plan_on(sft("--nnodes", "2", "--node-rank", "0", *HERE, "--trainer.torchrun.rdzv-backend", "c10d"))
    assert "--rdzv-backend=c10d" in plan.processes[0].argv
    assert any("numbers the nodes:" in note for note in plan.notes)


def test_master_addr_and_port_are_where_the_nodes_meet() -> None:
    there = ("--master_addr", "gpu01", "--master_port", "4000")
    plan = plan_on(sft("--nnodes=2", "--node_rank=1", *there))
    assert plan.nodes is not None
    assert (plan.nodes.host, plan.nodes.port, plan.nodes.control_port) == ("gpu01", 4000, 4001)
    assert {"--rdzv-backend=static", "--rdzv-endpoint=gpu01:4000"} <= set(plan.processes[0].argv)


def test_within_srun_the_rank_is_that_of_its_node_and_a_note_says_so() -> None:
    nodes = plan_nodes(sft("--nnodes", "4", *HERE), Step(node=3, nodes=4, tasks=4))
    assert nodes is not None and nodes.rank == 3
    plan = make_plan(sft("--nnodes", "4", *HERE), machine(nodes=nodes), RunDir(Path("/runs/otter")), "otter")
    assert "--node-rank=3" in plan.processes[0].argv
    assert "node rank 3 is SLURM_NODEID, as srun has set it" in plan.notes


def test_a_rank_that_was_typed_is_not_slurms_and_one_node_needs_none() -> None:
    step = Step(node=3, nodes=4, tasks=4)
    nodes = plan_nodes(sft("--nnodes", "2", "--node-rank", "1", *HERE), step)
    assert nodes is not None and (nodes.rank, nodes.from_slurm) == (1, False)
    assert plan_nodes(sft(), step) is None


@pytest.mark.parametrize(
    ("step", "message"),
    [(Step(0, 2, 16), "srun starts launch 16 times on 2 nodes"), (Step(0, 1, 1), "on 1 node, and the run has 2")],
)
def test_an_srun_that_does_not_start_one_launch_on_each_node_is_refused(step: Step, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        plan_nodes(sft("--nnodes", "2", *HERE), step)
    assert "srun --nodes=2 --ntasks-per-node=1" in str(caught.value.hint)


def test_with_c10d_and_no_node_rank_torchrun_numbers_the_nodes_itself() -> None:
    config = sft("--nnodes", "2", *HERE, "--rdzv-backend", "c10d", "--rdzv-id", "job-7")
    check_common_id(config)
    plan = plan_on(config)
    argv = plan.processes[0].argv
    assert plan.nodes is None
    assert {"--nnodes=2", "--rdzv-backend=c10d", "--rdzv-endpoint=gpu01:29500", "--rdzv-id=job-7-1"} <= set(argv)
    assert not [word for word in argv if word.startswith("--node-rank")]
    assert "c10d numbers the nodes: each node's launch knows only its own processes" in plan.notes


@pytest.mark.parametrize("nodes", [("--nnodes", "2", "--rdzv-backend", "c10d"), ("--nnodes", "1:2")])
def test_nodes_that_torchrun_numbers_need_an_id_that_they_share(nodes: tuple[str, ...]) -> None:
    check_common_id(sft(*nodes, *HERE, "--name", "otter"))
    with pytest.raises(UserError, match="each draws its own"):
        check_common_id(sft(*nodes, *HERE))


@pytest.mark.parametrize("name", ["trainer.nodes", "trainer.torchrun.nnodes", "nnodes", "slurm.nodes"])
def test_the_number_of_nodes_has_several_spellings_and_one_owner(name: str) -> None:
    assert sft(f"--{name}", "4").trainer.torchrun.nnodes == "4"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--nnodes", "2"), "needs --node-rank and --rdzv-endpoint"),
        (("--nnodes", "2", "--node-rank", "0"), "needs --rdzv-endpoint"),
        (("--nnodes", "2", "--rdzv-backend", "c10d"), "needs --node-rank and --rdzv-endpoint"),
        (("--nnodes", "2", "--rdzv-backend", "c10d", *HERE, "--max-restarts", "1"), "--max-restarts needs --node-rank"),
        (("--nnodes", "2", "--node-rank", "2", *HERE), "there are 2 nodes"),
        (("--nnodes", "x"), "must be a number from 1 to 1000000, or MIN:MAX"),
        (("--nnodes", "0"), "must be a number from 1 to 1000000, or MIN:MAX"),
        (("--nnodes", "2", "--node-rank", "0", "--rdzv-endpoint", "gpu01:0"), "HOST:PORT"),
        (("--nnodes", "2", "--node-rank", "0", "--rdzv-endpoint", "gpu01:65535"), "HOST:PORT"),
    ],
)
def test_what_nodes_cannot_do_is_refused(options: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        plan_nodes(sft(*options))


@pytest.mark.parametrize(
    ("typed", "host", "port"),
    [("gpu01", "gpu01", 29500), ("gpu01:4000", "gpu01", 4000), ("[fd00::1]:4000", "fd00::1", 4000)],
)
def test_the_endpoint_is_a_host_with_or_without_a_port(typed: str, host: str, port: int) -> None:
    nodes = plan_nodes(sft("--nnodes", "2", "--node-rank", "0", "--rdzv-endpoint", typed))
    assert nodes is not None
    assert (nodes.host, nodes.port, nodes.control_port) == (host, port, port + 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--spare-nodes", "1"), "--spare-nodes 1: the run has one node"),
        (("--nnodes", "1:2", "--spare-nodes", "1", *HERE), "the run has a range of nodes"),
        (("--nnodes", "2", "--spare-nodes", "1", "--node-rank", "0", *HERE), "--spare-nodes 1 needs --max-restarts"),
        (("--nnodes", "2", "--min-nodes", "1", "--node-rank", "0", *HERE), "--min-nodes 1 needs --max-restarts"),
        ((*SPARE, "--spare-nodes", "6", "--node-rank", "0"), "--spare-nodes 6 for 3 nodes"),
        ((*SPARE, "--min-nodes", "4", "--node-rank", "0"), "--min-nodes 4: the trainer has 3 nodes"),
        ((*SPARE, "--node-rank", "5"), "--node-rank 5: there are 3 nodes and 2 spares"),
        (("--nnodes", "2", "--spare-nodes", "1", "--rdzv-backend", "c10d", *HERE), "nodes that torchrun numbers"),
    ],
)
def test_spares_that_could_never_be_used_are_refused(options: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        plan_nodes(sft(*options))


def test_a_node_rank_without_the_number_of_nodes_is_refused() -> None:
    assert plan_nodes(train("--node-rank", "0", "x.py")) is None
    with pytest.raises(UserError, match="--node-rank 3: the run has one node, whose rank is 0") as caught:
        plan_nodes(train("--node-rank", "3", "x.py"))
    assert "--nnodes N" in str(caught.value.hint)


def test_a_range_of_nodes_is_restarted_by_torchrun_since_no_launch_knows_the_others() -> None:
    elastic = ("--nnodes", "1:4", "--rdzv-id", "job", "--rdzv-endpoint", "gpu01:29400", "--rdzv-backend", "c10d")
    with pytest.raises(UserError, match="each launch would begin an attempt alone") as caught:
        plan_nodes(train(*elastic, "--max_restarts", "3", "x.py"))
    assert "--trainer.torchrun.max-restarts 3" in str(caught.value.hint)
    assert plan_nodes(train(*elastic, "--trainer.torchrun.max-restarts", "3", "x.py")) is None


PORT = ("--services.a.command", "true", "--services.a.port", "29500")
TWO = ("--nnodes", "2", "--rdzv-endpoint", "gpu01:29500")
C10D = ("--rdzv-backend", "c10d", "--rdzv-id", "job")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--rdzv-endpoint", "localhost:29500"), "--rdzv-endpoint localhost:29500"),
        (("--master-port", "29500"), "--master-port 29500"),
        (("--master-addr", "gpu01"), "--master-addr gpu01"),
        (("--rdzv-backend", "static"), "the rendezvous"),
        ((*TWO, "--node-rank", "0"), "--rdzv-endpoint gpu01:29500"),
        ((*TWO, *C10D), "--rdzv-endpoint gpu01:29500"),
        (
            ("--nnodes", "2", "--node-rank", "0", "--rdzv-endpoint", "gpu01:29499"),
            "--rdzv-endpoint gpu01:29499 (the launches meet on the next port)",
        ),
    ],
)
def test_a_server_cannot_have_the_port_of_the_rendezvous(options: tuple[str, ...], named: str) -> None:
    with pytest.raises(UserError) as caught:
        plan_on(sft(*PORT, *options))
    assert str(caught.value).startswith(f"{named} and --services.a.port: both have port 29500")


def test_neither_can_an_inference_server_beside_the_rendezvous() -> None:
    servers = ("--inference.port", "29499", "--inference.replicas", "2", "--master-port", "29500")
    with pytest.raises(UserError, match=r"--master-port 29500 and --inference\.port: both have port 29500"):
        plan_on(rl(*servers))


@pytest.mark.parametrize(
    "options",
    [
        ("--rdzv-endpoint", "localhost:29501"),
        (*TWO, "--node-rank", "1"),  # services run on node 0
        ("--rdzv-endpoint", "localhost:29500", "--trainer.command", "true"),  # no torchrun
        ("--rdzv-endpoint", "etcd:29500", "--rdzv-backend", "etcd-v2"),  # it listens elsewhere
    ],
)
def test_a_port_that_no_rendezvous_takes_on_this_node_is_the_servers(options: tuple[str, ...]) -> None:
    plan_on(sft(*PORT, *options))


def test_an_inference_server_on_another_node_may_have_the_number_of_the_rendezvous_port() -> None:
    alone = ("--inference.nodes", "1", "--inference.port", "29500", "--rdzv-endpoint", "gpu01:29500")
    for rank in ("0", "1"):
        plan_on(rl(*alone, "--node-rank", rank))


@pytest.mark.parametrize("typed", ["gpu01:x", "gpu01:99999", ":29500", "http://gpu01:29500", "a b:29500", ""])
def test_an_endpoint_that_is_none_is_refused_on_one_node_too(typed: str) -> None:
    with pytest.raises(UserError, match=r"--rdzv-endpoint .*: not of the form HOST:PORT"):
        plan_on(sft("--rdzv-endpoint", typed))


def test_on_one_node_torchrun_may_choose_the_port_unless_the_rendezvous_is_static() -> None:
    for typed in ("localhost:0", "localhost", "[::1]:0"):
        argv = plan_on(sft("--rdzv-endpoint", typed)).processes[0].argv
        assert f"--rdzv-endpoint={typed}" in argv
        if typed != "localhost:0":
            with pytest.raises(UserError, match="not of the form HOST:PORT"):
                plan_on(sft("--rdzv-endpoint", typed, "--rdzv-backend", "static"))
