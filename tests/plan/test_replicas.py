"""`inference.replicas`: several inference servers on a node, each with its own name, port, GPUs and files."""

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher.config.run import SFTConfig
from launcher.errors import UserError
from launcher.options.layer import Layer
from launcher.options.load import load
from launcher.plan.build import make_plan
from launcher.plan.rendezvous import plan_nodes
from launcher.plan.spec import Plan, ProcessSpec
from launcher.rundir import RunDir
from tests.plans import component, machine, plan_of, plan_on_node, rl

TWO = ("--inference.replicas", "2")
OWN = ("--orchestrator.script", "ask.py", "--inference.command", "serve")  # and its arguments
SERVER_NODE = ("--inference.nodes", "2", "--rdzv-endpoint", "gpu01:29500", "--node-rank", "2", "--nnodes", "1")


def servers(plan: Plan) -> list[ProcessSpec]:
    return [spec for spec in plan.processes if spec.name.startswith("inference")]


def handed(plan: Plan, name: str) -> dict[str, Any]:
    return tomllib.loads(next(text for path, text in plan.files if path.name == f"{name}.toml"))


def test_each_server_has_its_name_port_gpu_log_configuration_and_check() -> None:
    plan = plan_of(rl(*TWO), machine(gpus=8))
    assert [spec.name for spec in plan.processes] == ["trainer", "orchestrator", "inference-0", "inference-1"]
    assert component(plan, "trainer").gpus == ("0", "1", "2", "3", "4", "5")
    for number, spec in enumerate(servers(plan)):
        name, port = f"inference-{number}", 4321 + number
        assert spec.gpus == (str(6 + number),) and spec.env["CUDA_VISIBLE_DEVICES"] == str(6 + number)
        assert spec.env["LAUNCH_COMPONENT"] == name
        assert spec.log == Path(f"/runs/otter/logs/attempt_1/{name}.log")
        assert spec.argv[-1] == f"/runs/otter/configs/{name}.toml"
        assert handed(plan, name)["port"] == port
        assert spec.ready == f"http://127.0.0.1:{port}/health"
        assert spec.alive and spec.alive.check == spec.ready
    assert handed(plan, "orchestrator")["inference_url"] == "http://127.0.0.1:4321,http://127.0.0.1:4322"


def test_a_port_that_was_named_is_the_first_servers() -> None:
    plan = plan_of(rl(*TWO, "--inference.port", "8000"))
    assert [handed(plan, spec.name)["port"] for spec in servers(plan)] == [8000, 8001]
    with pytest.raises(UserError, match="port = 65535: replicas = 2 take the next ones too, up to 65536"):
        rl(*TWO, "--inference.port", "65535")


def test_each_vllm_has_its_tensor_parallel_gpus() -> None:
    vllm = ("--inference.engine", "vllm", "--inference.tensor-parallel", "2")
    plan = plan_of(rl(*TWO, *vllm), machine(gpus=8, vllm="/vllm"))
    assert component(plan, "trainer").gpus == ("0", "1", "2", "3")
    assert [spec.gpus for spec in servers(plan)] == [("4", "5"), ("6", "7")]
    for number, spec in enumerate(servers(plan)):
        assert spec.argv[spec.argv.index("--port") + 1] == str(4321 + number)
        assert spec.argv[spec.argv.index("--tensor-parallel-size") + 1] == "2"
        assert spec.env["VLLM_SERVER_DEV_MODE"] == "1"
    assert [words[-1] for words in plan.first] == ["/runs/otter/configs/inference-0.toml"]


def test_gpus_that_were_named_are_divided_and_too_few_are_shared() -> None:
    assert [spec.gpus for spec in servers(plan_of(rl(*TWO, "--inference.gpus", "4"), machine(gpus=8)))] == [
        ("4", "5"),
        ("6", "7"),
    ]
    one = plan_of(rl(*TWO), machine(gpus=1))
    assert [spec.gpus for spec in servers(one)] == [("0",), ("0",)]
    assert "inference shares GPU 0 with the trainer: there is 1 GPU" in one.notes
    with pytest.raises(UserError, match="gpus = 3 cannot be divided among replicas = 2"):
        rl(*TWO, "--inference.gpus", "3")


@pytest.mark.parametrize("number", ["0", "-1", "65"])
def test_a_number_of_servers_that_cannot_be_is_refused(number: str) -> None:
    with pytest.raises(UserError, match="replicas"):
        rl(f"--inference.replicas={number}")


def test_a_server_of_ones_own_is_told_each_port() -> None:
    plan = plan_of(rl(*TWO, *OWN, "--inference.args=--port={port}", "--inference.ready", "http://h:{port}/up"))
    assert [spec.argv for spec in servers(plan)] == [("serve", "--port=4321"), ("serve", "--port=4322")]
    assert [spec.ready for spec in servers(plan)] == ["http://h:4321/up", "http://h:4322/up"]
    by_file = plan_of(rl(*TWO, *OWN, "--inference.args={config}"))
    assert [spec.argv[-1] for spec in servers(by_file)] == [
        "/runs/otter/configs/inference-0.toml",
        "/runs/otter/configs/inference-1.toml",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--inference.args=--port=8000",), "each needs a port of its own: write {port} for it in command or args"),
        (("--inference.args={port}", "--inference.ready=http://h:8000/up"), "ready = 'http://h:8000/up' asks at one"),
        (("--inference.args={port}", "--inference.alive=tcp://h:8000"), "alive = 'tcp://h:8000' asks at one address"),
    ],
)
def test_one_port_for_several_servers_is_refused(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError) as caught:
        rl(*TWO, *OWN, *arguments)
    assert message in str(caught.value)


def test_what_comes_after_inference_comes_after_all_of_its_servers() -> None:
    plan = plan_of(rl(*TWO, "--trainer.after", "inference"))
    assert component(plan, "trainer").after == ("inference-0", "inference-1")


def test_settings_of_inference_are_those_of_each_server() -> None:
    restart = ("--inference.restart", "on-failure", "--inference.env", "A={port}")
    on = machine(env_files={"inference": {"B": "file"}}, pythons={"inference": "/other/bin/python"})
    plan = plan_of(rl(*TWO, *restart, "--inference.module", "m", "--inference.takes-weights"), on)
    assert [(spec.restarts, spec.env["A"], spec.env["B"], spec.argv[0]) for spec in servers(plan)] == [
        (3, "4321", "file", "/other/bin/python"),
        (3, "4322", "file", "/other/bin/python"),
    ]


def test_each_node_of_inference_has_as_many_and_divides_its_gpus() -> None:
    plan = plan_on_node(rl(*TWO, *SERVER_NODE), gpus=4)
    assert [(spec.name, spec.gpus) for spec in plan.processes] == [
        ("inference-0", ("0", "1")),
        ("inference-1", ("2", "3")),
    ]
    with pytest.raises(UserError, match=r"--inference.replicas 3: 4 GPUs cannot be divided") as caught:
        plan_on_node(rl("--inference.replicas", "3", *SERVER_NODE), gpus=4)
    assert caught.value.hint == "allowed here: 1, 2, 4"


def test_the_orchestrator_asks_all_servers_of_all_nodes() -> None:
    config = rl(*TWO, *SERVER_NODE[:-4], "--node-rank", "0", "--nnodes", "1")
    nodes = plan_nodes(config)
    assert nodes is not None and nodes.replicas == 2

    def asked(**known: Any) -> object:
        on = machine(nodes=replace(nodes, **known))
        return handed(make_plan(config, on, RunDir(Path("/runs/otter")), "otter"), "orchestrator")["inference_url"]

    assert asked() == "http://node-1:PORT,http://node-1:PORT+1,http://node-2:PORT,http://node-2:PORT+1"
    met = asked(hosts=("gpu01", "gpu02", "::1"), inference_ports=(0, 8000, 9000))
    assert met == "http://gpu02:8000,http://gpu02:8001,http://[::1]:9000,http://[::1]:9001"


def test_a_service_cannot_have_the_name_of_a_server() -> None:
    with pytest.raises(UserError, match="inference-1 is a reserved name"):
        load(SFTConfig, [Layer({"services": {"inference-1": {"command": ["x"]}}})])
