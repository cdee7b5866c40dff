"""Plans of runs on several nodes: what each node starts, and where it finds the others."""

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher.errors import UserError
from launcher.plan.build import make_plan
from launcher.plan.nodes import Nodes
from launcher.plan.render import render
from launcher.plan.rendezvous import plan_nodes
from launcher.plan.spec import Plan
from launcher.rundir import RunDir
from tests.plans import machine, rl, sft
from tests.plans import plan_on_node as plan_on

HERE = ("--rdzv-endpoint", "gpu01:29500")


def names(plan: Plan) -> list[str]:
    return [spec.name for spec in plan.processes]


def handed(plan: Plan, name: str) -> dict[str, Any]:
    return tomllib.loads(next(text for path, text in plan.files if path.name == f"{name}.toml"))


def test_ranks_are_numbered_over_all_nodes() -> None:
    many = ("--nnodes", "128", "--node-rank", "127", "--nproc", "8", "--trainer.batch-size", "1024")
    spec = plan_on(sft(*many, *HERE)).processes[0]
    assert [log.name for log in spec.rank_logs] == [f"rank_{rank}.log" for rank in range(1016, 1024)]


def test_a_log_directory_that_was_named_is_divided_among_the_nodes() -> None:
    argv = plan_on(sft("--nnodes", "2", "--node-rank", "1", *HERE, "--log-dir", "/logs")).processes[0].argv
    assert "--log-dir=/logs/node_1" in argv


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
