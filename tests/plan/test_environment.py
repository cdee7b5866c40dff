"""What a child's environment has more, and less, than ours."""

from pathlib import Path

import pytest

from launcher.errors import UserError
from launcher.plan.environment import strays, threads
from launcher.plan.render import render
from tests.plans import component, machine, plan_of, rl, sft

CONFUSING = [
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "GROUP_RANK",
    "ROLE_RANK",
    "MASTER_ADDR",
    "MASTER_PORT",
    "TORCHELASTIC_RUN_ID",
    "TORCHELASTIC_ERROR_FILE",
    "PET_NPROC_PER_NODE",
    "PET_RDZV_ID",
    "LAUNCH_RUN_DIR",
]
HARMLESS = ["PATH", "HOME", "RANKS", "MY_RANK", "WORLD", "LOCAL", "PETS", "NCCL_DEBUG", "LAUNCH_INFERENCE_TOKEN"]


def test_what_another_launcher_left_behind_is_not_inherited() -> None:
    assert strays(frozenset([*CONFUSING, *HARMLESS])) == tuple(sorted(CONFUSING))


def test_every_component_is_rid_of_them() -> None:
    plan = plan_of(rl(), machine(variables=frozenset([*CONFUSING, *HARMLESS])))
    assert {spec.unset for spec in plan.processes} == {tuple(sorted(CONFUSING))}


def test_what_the_user_sets_for_a_component_is_not_taken_away() -> None:
    plan = plan_of(sft("--trainer.env", "PET_MAX_RESTARTS=1"), machine(variables=frozenset({"PET_MAX_RESTARTS"})))
    trainer = component(plan, "trainer")
    assert trainer.unset == ()
    assert trainer.env["PET_MAX_RESTARTS"] == "1"


def test_every_component_knows_where_it_belongs() -> None:
    for spec in plan_of(rl(), attempt=3).processes:
        assert spec.env["LAUNCH_COMPONENT"] == spec.name
        assert spec.env["LAUNCH_RUN_DIR"] == "/runs/otter"
        assert spec.env["LAUNCH_ATTEMPT"] == "3"
        assert spec.env["PYTHONUNBUFFERED"] == "1"


def test_logging_is_handed_to_every_component() -> None:
    for spec in plan_of(rl("--log.level", "DEBUG", "--log.json")).processes:
        assert (spec.env["LAUNCH_LOG_LEVEL"], spec.env["LAUNCH_LOG_JSON"]) == ("DEBUG", "1")
    assert "LAUNCH_LOG_JSON" not in component(plan_of(rl()), "trainer").env


def test_each_component_sees_its_own_gpus_and_the_orchestrator_none() -> None:
    plan = plan_of(rl(), machine(gpus=4))
    seen = {spec.name: spec.env["CUDA_VISIBLE_DEVICES"] for spec in plan.processes}
    assert seen == {"trainer": "0,1,2", "orchestrator": "", "inference": "3"}


def test_a_machine_without_gpus_says_nothing_of_them() -> None:
    assert not [spec for spec in plan_of(rl()).processes if "CUDA_VISIBLE_DEVICES" in spec.env]


def test_the_users_own_variables_win() -> None:
    config = sft("--trainer.env", "CUDA_VISIBLE_DEVICES=7", "--trainer.env", "OMP_NUM_THREADS=3")
    env = component(plan_of(config, machine(gpus=2)), "trainer").env
    assert (env["CUDA_VISIBLE_DEVICES"], env["OMP_NUM_THREADS"]) == ("7", "3")


@pytest.mark.parametrize(("cpus", "processes", "share"), [(8, 2, "4"), (7, 2, "3"), (2, 9, "1"), (1, 1, "1")])
def test_cores_are_shared_evenly(cpus: int, processes: int, share: str) -> None:
    assert threads(machine(cpus=cpus), processes) == {"OMP_NUM_THREADS": share}


def test_the_users_number_of_threads_is_inherited() -> None:
    assert threads(machine(cpus=8, variables=frozenset({"OMP_NUM_THREADS"})), 2) == {}


def test_a_secret_that_was_masked_in_a_file_is_taken_from_the_environment() -> None:
    config = sft("--trainer.env", "HF_TOKEN=***", "--trainer.env", "STARS=***")
    plan = plan_of(config, machine(variables=frozenset({"HF_TOKEN"})))
    env = component(plan, "trainer").env
    assert "HF_TOKEN" not in env
    assert env["STARS"] == "***"
    assert plan.notes == ("trainer.env.HF_TOKEN is masked in the file: taken from the environment",)


def test_a_masked_secret_that_nobody_has_is_asked_for() -> None:
    with pytest.raises(UserError, match=r"trainer.env.HF_TOKEN is masked in the file\n.*export HF_TOKEN="):
        plan_of(sft("--trainer.env", "HF_TOKEN=***"))


def test_the_runs_token_is_for_the_orchestrator_and_our_server_alone_and_never_printed_or_written() -> None:
    plan = plan_of(rl("--inference.max-batch=8"), machine(inference_token="drawn"))
    holders = {spec.name for spec in plan.processes if "drawn" in spec.env.values()}
    assert holders == {"orchestrator", "inference"}
    assert "drawn" not in render(plan, Path("/here"), True) + "".join(text for _, text in plan.files)


def test_a_server_of_the_users_own_gets_no_token_of_ours() -> None:
    plan = plan_of(rl("--inference.command=x", "--orchestrator.command=y"), machine(inference_token="drawn"))
    assert not [spec.name for spec in plan.processes if "drawn" in spec.env.values()]
