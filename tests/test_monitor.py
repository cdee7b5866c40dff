"""launcher.monitor and launcher.tracking.sinks: the file that is written with or without W&B."""

import json
from pathlib import Path

import pytest

from launcher.tracking.sinks import MetricsFile
from tests.children import run_python

SETUP = "from launcher import get_monitor, setup_monitor; monitor = setup_monitor()\n"
LOG = SETUP + "monitor.log({'loss': 0.5}, step=1); monitor.finish(0)"


def child(root: Path, **more: str) -> dict[str, str]:
    return {"LAUNCH_RUN_DIR": str(root), "LAUNCH_COMPONENT": "trainer", **more}


def read(path: Path) -> list[dict[str, float | None]]:
    return [json.loads(line, parse_constant=pytest.fail) for line in path.read_text().splitlines()]


def steps(path: Path) -> list[float | None]:
    return [record["step"] for record in read(path)]


# --- the file ---------------------------------------------------------------------------------------------------------


def test_each_step_is_a_line_with_step_and_time(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics" / "trainer.jsonl")
    file.log({"loss": 0.5, "reward/mean": 1}, step=3)
    file.log({"loss": 0.25}, step=4)
    first, second = read(file.path)
    assert first == {"step": 3, "time": first["time"], "loss": 0.5, "reward/mean": 1}
    assert second["loss"] == 0.25
    assert isinstance(first["time"], float)


def test_what_json_has_no_number_for_is_null(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "trainer.jsonl")
    file.log({"nan": float("nan"), "inf": float("inf")}, step=1)
    (record,) = read(file.path)
    assert record["nan"] is None
    assert record["inf"] is None


def test_tensors_and_arrays_of_one_element_are_numbers(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    file = MetricsFile(tmp_path / "trainer.jsonl")
    file.log({"loss": numpy.float32(0.5)}, step=1)
    assert read(file.path)[0]["loss"] == 0.5


def test_after_a_rewind_no_step_appears_twice(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "trainer.jsonl")
    for step in range(1, 7):
        file.log({"loss": 1.0}, step)
    file.rewind(4)
    for step in range(5, 8):
        file.log({"loss": 2.0}, step)
    assert steps(file.path) == [1, 2, 3, 4, 5, 6, 7]


def test_a_rewind_drops_the_half_line_of_a_killed_process(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "trainer.jsonl")
    file.path.write_text('{"step": 1}\n{"step": 2, "lo')
    file.rewind(10)
    assert file.path.read_text() == '{"step": 1}\n'


def test_a_rewind_without_a_file_does_nothing(tmp_path: Path) -> None:
    MetricsFile(tmp_path / "trainer.jsonl").rewind(3)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_warning(tmp_path: Path) -> None:
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "trainer.jsonl").symlink_to("/dev/full")
    code = SETUP + "import launcher; launcher.setup_logger()\nfor step in range(3): monitor.log({'loss': 1}, step)"
    result = run_python(code, tmp_path, **child(tmp_path))
    assert result.returncode == 0
    assert result.stdout.count("metrics are lost: cannot write") == 1


def test_a_disk_that_takes_half_a_line_keeps_none_of_it(tmp_path: Path) -> None:
    """A file size limit stands for the full disk; the file is whole again when there is room."""
    code = SETUP + (
        "import resource\nfor limit in (150, 150, 150, 10_000):\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))\n"
        "    monitor.log({'loss': 1}, limit)"
    )
    run_python(code, tmp_path, **child(tmp_path))
    assert steps(tmp_path / "metrics" / "trainer.jsonl") == [150, 150, 10_000]


# --- the monitor ------------------------------------------------------------------------------------------------------


def test_global_rank_0_alone_writes(tmp_path: Path) -> None:
    for rank in "0", "1":
        assert run_python(LOG, tmp_path, **child(tmp_path, RANK=rank, LOCAL_RANK="0")).returncode == 0
    assert steps(tmp_path / "metrics" / "trainer.jsonl") == [1]


def test_a_component_without_ranks_writes(tmp_path: Path) -> None:
    run_python(LOG, tmp_path, **child(tmp_path, LAUNCH_COMPONENT="orchestrator"))
    assert steps(tmp_path / "metrics" / "orchestrator.jsonl") == [1]


def test_outside_a_run_nothing_is_written(tmp_path: Path) -> None:
    assert run_python(LOG, tmp_path).returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_arguments_win_over_the_environment(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from launcher import setup_monitor; from launcher.rundir import RunDir\n"
        "setup_monitor('reward', RunDir(Path('mine'))).log({'a': 1}, 1)"
    )
    run_python(code, tmp_path, **child(tmp_path / "other"))
    assert steps(tmp_path / "mine" / "metrics" / "reward.jsonl") == [1]


def test_everybody_gets_the_monitor_that_was_set_up(tmp_path: Path) -> None:
    assert run_python(SETUP + "print(get_monitor() is monitor)", tmp_path).stdout == "True\n"


def test_a_monitor_before_the_setup_is_an_error_that_says_so(tmp_path: Path) -> None:
    result = run_python("from launcher import get_monitor; get_monitor()", tmp_path)
    assert "RuntimeError: there is no monitor yet; call setup_monitor()" in result.stderr


def test_a_second_setup_is_an_error_that_says_so(tmp_path: Path) -> None:
    result = run_python(SETUP + "setup_monitor()", tmp_path)
    assert "RuntimeError: setup_monitor() was called before; call it exactly once" in result.stderr


def test_without_wandb_nothing_of_it_is_loaded_and_no_extras_are_wanted(tmp_path: Path) -> None:
    code = LOG + "\nimport sys; print('wandb' in sys.modules, monitor.wants_extras(10))"
    assert run_python(code, tmp_path, **child(tmp_path)).stdout == "False False\n"


def test_a_trainer_of_the_users_own_finds_its_wandb_settings_in_its_config(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "trainer.toml").write_text('[wandb]\nenabled = true\nmode = "offline"\nname = "mine"\n')
    result = run_python(LOG, tmp_path, **child(tmp_path))
    assert result.returncode == 0
    assert json.loads((tmp_path / "wandb" / "trainer.json").read_text())["name"] == "mine"
