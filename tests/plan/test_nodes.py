"""Plans of runs on several nodes: what each node starts, and where it finds the others."""

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher.errors import UserError
from launcher.plan.build import make_plan
from launcher.plan.nodes import Nodes, Step, check_common_id, plan_nodes
from launcher.plan.render import render
from launcher.plan.spec import Plan
from launcher.rundir import RunDir
from tests.plans import machine, rl, sft
from tests.plans import plan_on_node as plan_on

HERE = ("--rdzv-endpoint", "gpu01:29500")


def names(plan: Plan) -> list[str]:
    return [spec.name for spec in plan.processes]


def handed(plan: Plan, name: str) -> dict[str, Any]:
    return tomllib.loads(next(text for path, text in plan.files if path.name == f"{name}.toml"))


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


def test_ranks_are_numbered_over_all_nodes() -> None:
    many = ("--nnodes", "128", "--node-rank", "127", "--nproc", "8", "--trainer.batch-size", "1024")
    spec = plan_on(sft(*many, *HERE)).processes[0]
    assert [log.name for log in spec.rank_logs] == [f"rank_{rank}.log" for rank in range(1016, 1024)]


def test_a_log_directory_that_was_named_is_divided_among_the_nodes() -> None:
    argv = plan_on(sft("--nnodes", "2", "--node-rank", "1", *HERE, "--log-dir", "/logs")).processes[0].argv
    assert "--log-dir=/logs/node_1" in argv


@pytest.mark.parametrize("name", ["trainer.nodes", "trainer.torchrun.nnodes", "nnodes", "slurm.nodes"])
def test_the_number_of_nodes_has_several_spellings_and_one_owner(name: str) -> None:
    assert sft(f"--{name}", "4").trainer.torchrun.nnodes == "4"


# --- rl ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--nnodes", "2"), [["trainer", "orchestrator", "inference"], ["trainer"]]),
        (("--inference.nodes", "1"), [["trainer", "orchestrator"], ["inference"]]),
        (("--nnodes", "2", "--inference.nodes", "1"), [["trainer", "orchestrator"], ["trainer"], ["inference"]]),
        (
            ("--inference.nodes", "2", "--orchestrator.beside", "inference"),
            [["trainer"], ["orchestrator", "inference"], ["inference"]],
        ),
    ],
)
def test_each_node_starts_its_part(options: tuple[str, ...], expected: list[list[str]]) -> None:
    plans = [plan_on(rl(*options, "--node-rank", str(node), *HERE)) for node in range(len(expected))]
    assert [names(plan) for plan in plans] == expected


def test_the_orchestrator_is_handed_every_server() -> None:
    options = ("--nnodes", "1", "--inference.nodes", "2", "--node-rank", "0", *HERE)
    plan = plan_on(rl(*options), hosts=("gpu01", "10.0.0.2", "fd00::3"))
    assert handed(plan, "orchestrator")["inference_url"] == "http://10.0.0.2:8001,http://[fd00::3]:8002"


def test_a_server_for_other_nodes_listens_to_them() -> None:
    options = ("--inference.nodes", "1", "--node-rank", "1", *HERE)
    assert handed(plan_on(rl(*options)), "inference")["host"] == "0.0.0.0"
    assert handed(plan_on(rl(*options, "--inference.host", "10.0.0.2")), "inference")["host"] == "10.0.0.2"
    assert handed(plan_on(rl("--nnodes", "2", "--node-rank", "0", *HERE)), "inference")["host"] == "127.0.0.1"


def test_a_node_of_inference_gives_it_all_its_gpus() -> None:
    plan = plan_on(rl("--inference.nodes", "1", "--node-rank", "1", *HERE), gpus=4)
    assert plan.processes[0].gpus == ("0", "1", "2", "3")


def test_a_node_of_the_trainer_gives_it_all_its_gpus_when_inference_is_elsewhere() -> None:
    plan = plan_on(rl("--inference.nodes", "1", "--node-rank", "0", *HERE), gpus=4)
    assert plan.processes[0].ranks is not None
    assert plan.processes[0].ranks.count == 4


def test_services_run_on_node_0_and_nobody_waits_there_for_what_is_elsewhere(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('[services.reward]\ncommand = ["true"]\n[orchestrator]\nafter = ["inference", "reward"]\n')
    plans = [plan_on(rl("@", str(file), "--inference.nodes", "1", "--node-rank", str(n), *HERE)) for n in (0, 1)]
    assert [names(plan) for plan in plans] == [["trainer", "orchestrator", "reward"], ["inference"]]
    assert plans[0].processes[1].after == ("reward",)


def test_the_run_is_over_when_every_node_but_those_that_only_serve_is_done() -> None:
    nodes = Nodes(0, trainer=2, inference=2, host="gpu01", port=29500)
    assert [nodes.finishes(node) for node in range(4)] == [True, True, False, False]
    assert nodes.peers == (1, 2, 3)
    assert replace(nodes, rank=3).peers == (0,)


def test_the_replicas_of_inference_are_where_inference_is() -> None:
    nodes = Nodes(0, 1, 2, "gpu01", 29500, replicas=2)
    assert [[name for name in ("inference", "inference-1") if nodes.runs(name, node)] for node in range(3)] == [
        [],
        ["inference", "inference-1"],
        ["inference", "inference-1"],
    ]


def test_a_plan_says_which_node_it_is_of() -> None:
    text = render(plan_on(sft("--nnodes", "2", "--node-rank", "1", *HERE)), Path("/work"), files_are_written=False)
    assert "attempt 1, node 1 of 2, in /runs/otter" in text


# --- what cannot be ---------------------------------------------------------------------------------------------------


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


def test_nodes_for_inference_without_inference_are_refused() -> None:
    with pytest.raises(UserError, match=r"inference\.nodes is set"):
        rl("--inference.nodes", "1", "--no-inference", "--orchestrator.inference-url", "http://x")


def test_other_nodes_find_a_service_by_node_0_and_its_port_must_be_named() -> None:
    words = ("--services.db.command", "db {services.db.port}", "--nnodes", "2", *HERE, "--trainer.script", "x")
    words = (*words, "--trainer.args", "{services.db.url}")
    found = [plan_on(sft(*words, "--services.db.port", "6379", "--node-rank", node)) for node in ("0", "1")]
    assert [plan.processes[0].argv[-1] for plan in found] == ["http://127.0.0.1:6379", "http://gpu01:6379"]
    with pytest.raises(UserError, match="the nodes of a run must agree on the port") as caught:
        plan_on(sft(*words, "--node-rank", "1"))
    assert caught.value.hint == "name it with --services.db.port"


# --- spares -----------------------------------------------------------------------------------------------------------

SPARE = ("--nnodes", "3", "--spare-nodes", "2", "--max-restarts", "1", *HERE)


def test_a_spare_plans_as_node_1_and_then_as_the_node_whose_place_it_takes() -> None:
    config = sft(*SPARE, "--node-rank", "4")
    plan = plan_on(config)
    assert plan.nodes is not None and plan.nodes.is_spare
    assert "--node-rank=1" in plan.processes[0].argv
    assert any("node 4 is a spare" in note for note in plan.notes)
    called = replace(plan.nodes, held=()).with_places((0, 1, 4))
    there = make_plan(config, machine(nodes=called), RunDir(Path("/runs/otter")), "otter")
    assert {"--node-rank=2", "--nnodes=3"} <= set(there.processes[0].argv)
    assert [log.name for log in there.processes[0].rank_logs] == ["rank_2.log"]
    assert there.run.own.name == "node_4", "its files are its own"


def test_the_orchestrator_finds_the_server_of_a_spare() -> None:
    config = rl("--inference.nodes", "1", *SPARE, "--node-rank", "0")
    nodes = plan_nodes(config)
    assert nodes is not None and nodes.count == 4 and nodes.launches == 6
    hosts, ports = tuple(f"gpu{node}" for node in range(6)), tuple(range(8000, 8006))
    nodes = replace(nodes, hosts=hosts, inference_ports=ports).with_places((0, 1, 2, 5))
    plan = make_plan(config, machine(nodes=nodes), RunDir(Path("/runs/otter")), "otter")
    assert handed(plan, "orchestrator")["inference_url"] == "http://gpu5:8005"


def test_a_spare_that_may_have_to_serve_has_a_port() -> None:
    spare = plan_nodes(rl("--inference.nodes", "1", *SPARE, "--node-rank", "4"))
    other = plan_nodes(rl("--inference.nodes", "1", *SPARE, "--node-rank", "1"))
    assert spare is not None and other is not None
    assert (spare.may_serve, other.may_serve) == (True, False)


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
