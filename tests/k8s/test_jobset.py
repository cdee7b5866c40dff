"""The JobSet: as a golden file, against the schemas of JobSet and Kubernetes, and with names that want to be more."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import ValidationError

from launcher.config.run import RLConfig, SFTConfig
from launcher.errors import UserError
from launcher.k8s.jobset import job_name, jobset
from launcher.k8s.yaml import to_yaml
from launcher.rundir import RunDir
from launcher.runs.state import K8sState
from tests.goldens import RUNS, check_golden, run_of
from tests.plans import machine, rl, sft

GOLDEN = Path(__file__).parent / "jobset"
SCHEMA = json.loads(Path(__file__).with_name("jobset.schema.json").read_text())
NASTY = 'it\'s a "run" $(JOB_COMPLETION_INDEX) $$ \n`id` é: # \\'
COMMON = ("--k8s.image", "registry.lab/launch:1", "--k8s.volumes", "data=claim:/runs")
WISHES = (
    *(
        "--k8s.namespace",
        "team-a",
        "--k8s.queue",
        "gpus",
        "--k8s.gpus",
        "8",
        "--k8s.cpu",
        "32",
        "--k8s.memory",
        "512Gi",
    ),
    *(
        "--k8s.shared-memory",
        "64Gi",
        "--k8s.secrets",
        "wandb",
        "--k8s.secrets",
        "hub",
        "--k8s.pull-secrets",
        "registry",
    ),
    *("--k8s.service-account", "trainer", "--k8s.node-selector", "gpu.type=h100", "--k8s.user", "1000:100"),
    *("--k8s.tolerations", "nvidia.com/gpu:NoSchedule", "--k8s.tolerations", "team=a:NoExecute", "--k8s.ttl", "1h"),
    *("--k8s.volumes", "models=models:/models:ro", "--k8s.python", "/opt/venv/bin/python", "--k8s.max-restarts", "3"),
)
MORE = {
    "sft_two_nodes": ("--grace", "90s", "--k8s.max-restarts", "2"),
    **dict.fromkeys(("rl_three_nodes", "rl_replicas", "rl_replicas_three_nodes"), ("--k8s.gpus", "8")),
}
JOBSETS = {
    **{name: run_of(name, *COMMON, *MORE.get(name, ())) for name in RUNS},
    "rl_all_options": rl(*COMMON, *WISHES, "--inference.nodes", "2", "--orchestrator.beside", "inference"),
}


def made(config: RLConfig | SFTConfig, root: str = "/runs/otter", cwd: str = "/here") -> dict[str, Any]:
    return jobset(config, machine(cwd=Path(cwd), run_id="89abcdef"), RunDir(Path(root)), "otter", "0123456789abcdef")


def pods(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [job["template"]["spec"]["template"]["spec"] for job in found["spec"]["replicatedJobs"]]


@pytest.mark.parametrize("name", JOBSETS)
def test_the_jobset_is_the_golden_one(name: str) -> None:
    check_golden(GOLDEN / f"{name}.yaml", to_yaml(made(JOBSETS[name])))


@pytest.mark.parametrize("name", JOBSETS)
def test_jobset_and_kubernetes_know_every_field_of_it(name: str) -> None:
    jsonschema.validate(yaml.safe_load(to_yaml(made(JOBSETS[name]))), SCHEMA)


def test_the_schema_refuses_what_no_kubernetes_knows() -> None:
    found = made(JOBSETS["rl_all_options"])
    pods(found)[0]["containers"][0]["imagePullPolicie"] = "Always"
    with pytest.raises(jsonschema.ValidationError, match="imagePullPolicie"):
        jsonschema.validate(found, SCHEMA)


def test_names_that_want_to_be_more_stay_names() -> None:
    found = made(sft(*COMMON), f"/runs/{NASTY}", f"/runs/{NASTY}")
    (pod,) = pods(yaml.safe_load(to_yaml(found)))
    (container,) = pod["containers"]
    assert container["command"][-1] == f"/runs/{NASTY}".replace("$", "$$")  # Kubernetes makes one dollar of two
    assert container["workingDir"] == f"/runs/{NASTY}"
    jsonschema.validate(found, SCHEMA)


@pytest.mark.parametrize("text", ["y", "no", "1e3", "0x1F", "08", "~", "", "null", "1_000", "12:30:45", ".inf", "<<"])
def test_a_text_that_a_yaml_may_take_for_something_else_is_quoted(text: str) -> None:
    assert to_yaml({"text": text}) == f'text: "{text}"\n'


@pytest.mark.parametrize("name", ["otter", "3B-exp.v2", "Übung_1", "-", "x" * 63, "A..b", "a" * 22 + "-b"])
def test_the_names_of_pods_are_labels_of_dns_whatever_the_runs_name(name: str) -> None:
    longest = f"{job_name(name, '0123456789abcdef', '89abcdef', 9999)}-inference-0-9999-abcde"
    assert len(longest) <= 63
    assert longest[0].isalpha() and longest.replace("-", "").isalnum() and longest.islower() and longest.isascii()


def test_each_group_of_nodes_is_a_replicated_job_whose_ranks_follow_those_before() -> None:
    found = made(JOBSETS["rl_three_nodes"])
    trainer, inference = found["spec"]["replicatedJobs"]
    assert [(job["name"], job["template"]["spec"]["completions"]) for job in (trainer, inference)] == [
        ("trainer", 2),
        ("inference", 1),
    ]
    shell = [pod["containers"][0]["command"][2] for pod in pods(found)]
    assert shell == [f'exec "$$@" --node-rank "$$((JOB_COMPLETION_INDEX + {first}))"' for first in (0, 2)]
    assert {pod["containers"][0]["command"][-1] for pod in pods(found)} == {
        "otter-012345-89ab-1-trainer-0-0.otter-012345-89ab-1:29500"
    }


def test_the_run_has_succeeded_when_trainer_and_orchestrator_have() -> None:
    assert made(JOBSETS["rl_three_nodes"])["spec"]["successPolicy"]["targetReplicatedJobs"] == ["trainer"]
    beside = made(JOBSETS["rl_all_options"])["spec"]["successPolicy"]["targetReplicatedJobs"]
    assert beside == ["trainer", "inference"]


@pytest.mark.parametrize(
    ("options", "context"),
    [
        ((), {"runAsUser": 1000, "runAsGroup": 1000}),
        (("--k8s.user", "7"), {"runAsUser": 7}),
        (("--k8s.user", "7:4000000000"), {"runAsUser": 7, "runAsGroup": 4_000_000_000}),
        (("--k8s.user", "image"), None),
    ],
)
def test_the_pods_processes_are_the_submitters_unless_another_user_is_named(
    options: tuple[str, ...], context: dict[str, int] | None
) -> None:
    (pod,) = pods(made(sft(*COMMON, *options)))
    assert pod.get("securityContext") == context


def test_the_pods_have_the_grace_and_time_to_end() -> None:
    (pod,) = pods(made(JOBSETS["sft_two_nodes"]))
    assert pod["terminationGracePeriodSeconds"] == 120


@pytest.mark.parametrize("text", ["-A", "--all", "-", "a-", "A", "a" * 64])
@pytest.mark.parametrize("field", ["job", "namespace"])
def test_a_name_in_run_json_that_kubectl_might_take_for_an_option_is_not_read(field: str, text: str) -> None:
    assert K8sState(job="a-1", namespace="").job == "a-1"
    with pytest.raises(ValidationError):
        K8sState.model_validate({"job": "a-1", field: text})


@pytest.mark.parametrize("option", ["--k8s.namespace", "--k8s.queue"])
def test_a_name_of_kubernetes_may_begin_with_a_digit(option: str) -> None:
    found = yaml.safe_load(to_yaml(made(sft(*COMMON, option, "3"))))
    assert "3" in (found["metadata"].get("namespace"), found["metadata"]["labels"].get("kueue.x-k8s.io/queue-name"))
    assert K8sState(job="a-1", namespace="3").namespace == "3"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--k8s",), r"k8s\.image is missing"),
        ((*COMMON, "--slurm"), "slurm and k8s are both on"),
        ((*COMMON, "--nnodes", "2", "--spare-nodes", "1"), "spare_nodes is not for Kubernetes"),
        ((*COMMON, "--nnodes", "2", "--min-nodes", "1"), "min_nodes is not for Kubernetes"),
        (("--k8s.image", "a b"), "without blanks"),
        (("--k8s.image", "a", "--k8s.volumes", "data=claim"), "must be CLAIM:/PATH"),
        (("--k8s.image", "a", "--k8s.volumes", "data=claim:/a/../b"), "must be CLAIM:/PATH"),
        ((*COMMON, "--k8s.volumes", "more=other:/runs"), "two volumes are mounted at /runs"),
        ((*COMMON, "--k8s.volumes", "Data=claim:/x"), "lower-case letters"),
        ((*COMMON, "--k8s.volumes", "launch-shm=claim:/x"), "launch's own volume"),
        ((*COMMON, "--k8s.memory", "64 GB"), "not a quantity"),
        ((*COMMON, "--k8s.queue", "Team A"), "lower-case letters"),
        ((*COMMON, "--k8s.tolerations", "gpu:Sometimes"), "the effect is one of"),
        ((*COMMON, "--k8s.node-selector", "a b=c"), "not a key"),
        ((*COMMON, "--k8s.user", "me"), "UID or UID:GID"),
    ],
)
def test_what_kubernetes_would_not_take_is_refused_here(options: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        sft(*options)


@pytest.mark.parametrize(
    ("options", "root", "message"),
    [
        (("--k8s.image", "a"), "/runs/otter", "is not on a volume"),
        (COMMON, "/home/otter", r"is not on a volume.*\n.*\n.*/runs"),
        (("--k8s.image", "a", "--k8s.volumes", "data=claim:/runs:ro"), "/runs/otter", "can write to"),
        ((*COMMON, "--nnodes", "1:4"), "/runs/otter", "is a range"),
        (COMMON, "/runs/\udcff", "not UTF-8"),
    ],
)
def test_what_pods_could_not_carry_out_is_refused_here(options: tuple[str, ...], root: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        made(sft(*options), root)
