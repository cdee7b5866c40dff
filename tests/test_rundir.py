"""Where the files of a run are."""

from pathlib import Path

import pytest

from launcher.rundir import RunDir

OWN = ("config", "state", "lock", "reserve", "launcher_log", "torchrun", "watchdog_stacks", "on_exit_log", "all_stacks")
SHARED = ("checkpoints", "rollouts", "all_weights", "all_metrics", "wandb", "job_script", "latest_logs")


def paths(run: RunDir) -> dict[str, Path]:
    return {name: getattr(run, name) for name in OWN} | {
        "component config": run.component_config("trainer"),
        "component log": run.component_log("trainer"),
        "rank log": run.rank_log(3),
    }


def test_no_two_nodes_write_the_same_file() -> None:
    nodes = [paths(RunDir(Path("/runs/otter"), 2, node)) for node in range(3)]
    for name in nodes[0]:
        assert len({node[name] for node in nodes}) == 3, name


def test_what_a_run_has_once_is_where_it_is_without_nodes() -> None:
    alone = RunDir(Path("/runs/otter"), 2)
    for name in SHARED:
        assert {getattr(alone.on(node), name) for node in range(3)} == {getattr(alone, name)}, name


@pytest.mark.parametrize("node", [None, 0])
def test_the_state_of_one_node_and_of_node_0_is_in_the_same_place(node: int | None) -> None:
    assert RunDir(Path("/runs/otter"), 1, node).state == Path("/runs/otter/run.json")


def test_the_path_of_a_log_names_its_node() -> None:
    run = RunDir(Path("/runs/otter"), 2, 1)
    assert run.component_log("trainer") == Path("/runs/otter/logs/attempt_2/node_1/trainer.log")
    assert run.of(3).rank_log(9) == Path("/runs/otter/logs/attempt_3/node_1/trainer/rank_9.log")
    assert run.on(None).logs == Path("/runs/otter/logs/attempt_2")
