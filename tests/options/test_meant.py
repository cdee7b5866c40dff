"""An option or a command of another program is answered with ours."""

from pathlib import Path

import pytest

from launcher import cli
from launcher.config.base import Section
from launcher.config.run import RLConfig
from launcher.options import meant
from launcher.options.fields import config_fields
from launcher.options.flags import option_names
from tests.runs.test_choice import a_run


def options_of(model: type[Section]) -> set[str]:
    return {name for field in config_fields(model) for name in option_names(field)} | {"detach", "clean", "dry-run"}


def test_every_meaning_is_an_option_of_launch_rl() -> None:
    wanted = set(meant._MEANING.values()) - {"@ FILE"}
    assert wanted - options_of(RLConfig) == set()


def test_no_meaning_hides_an_option() -> None:
    assert set(meant._MEANING) & options_of(RLConfig) == set()


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("--lr", "--trainer.optimizer.lr"),
        ("--gpus", "--nproc"),
        ("-n", "--nproc"),
        ("-r", "--redirects"),
        ("-t", "--tee"),
        ("--machine_rank", "--node-rank"),
        ("--main_process_ip", "--master-addr"),
        ("--steps", "--max-steps"),
        ("--resume", "launch resume RUN"),
        ("--num_processes", "--nproc"),
        ("--learning-rate", "--trainer.optimizer.lr"),
        ("--temperature", "--orchestrator.sampling.temperature"),
        ("--config", "@ FILE"),
        ("--project", "--wandb.project"),
        ("--trainer.lr", "--trainer.optimizer.lr"),
        ("--optimizer.lr", "--trainer.optimizer.lr"),
    ],
)
def test_an_option_is_found_by_its_meaning(typed: str, expected: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli._exit_code(["rl", typed]) == 2
    said = capfd.readouterr().err
    assert f"there is no option {typed.replace('_', '-')}" in said.replace("_", "-")
    assert expected in said.splitlines()[1]


def test_an_option_that_the_command_does_not_have_is_not_suggested() -> None:
    assert meant.meant_by("--lr", ["json", "all"]) is None


def test_an_option_that_resembles_none_is_answered_with_where_they_are_listed(
    capfd: pytest.CaptureFixture[str],
) -> None:
    for command, lists in (("logs", "launch logs --help"), ("sft", "launch sft --help-all")):
        assert cli._exit_code([command, "--zzz"]) == 2
        assert f"{lists} lists them" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("word", "expected"), [("train.py", "--trainer.script train.py"), ("a b.toml", "@ 'a b.toml'"), ("x", "@ FILE")]
)
def test_an_argument_that_is_not_expected_is_answered_with_how_it_is_given(
    word: str, expected: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli._exit_code(["rl", word]) == 2
    assert expected in capfd.readouterr().err


@pytest.mark.parametrize(
    ("typed", "command"),
    [
        ("ps", "status"),
        ("ls", "status"),
        ("list", "status"),
        ("kill", "stop"),
        ("tail", "logs"),
        ("continue", "resume"),
        ("htop", "top"),
        ("watch", "status"),
        ("start", "train"),
    ],
)
def test_a_command_is_found_by_its_meaning(typed: str, command: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli._exit_code([typed]) == 2
    assert f"did you mean launch {command}?" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("--nproc 2 train.py --lr 1", "--nproc 2 train.py --lr 1"),
        ("-m pkg.train", "-m pkg.train"),
        ("python train.py", "train.py"),
        ("torchrun --nproc_per_node 2 a.py", "--nproc_per_node 2 a.py"),
        ("train.py", "train.py"),
    ],
)
def test_a_program_without_a_command_is_answered_with_launch_train(
    words: str, meant: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli._exit_code(words.split()) == 2
    assert f"did you mean: launch train {meant}?" in capfd.readouterr().err


def test_an_option_that_a_resume_does_not_have_is_perhaps_the_trainers(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    a_run(here / "outputs" / "otter", state="failed")
    assert cli._exit_code(["resume", "otter", "--init_from=resume"]) == 2
    expected = "the trainer's own arguments go after --: launch resume otter -- --init"
    assert expected in capfd.readouterr().err


@pytest.mark.parametrize("option", ["--model", "--task", "--seed", "--max-steps", "--lr"])
def test_an_option_of_the_workload_stands_after_the_script_in_launch_train(
    option: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli._exit_code(["train", option, "1", "train.py"]) == 2
    said = capfd.readouterr().err.splitlines()
    assert said[1:] == [f"  what is meant for your own program stands after it: SCRIPT {option}"]
    assert cli._exit_code(["train", "--project", "x", "train.py"]) == 2
    assert "--wandb.project" in capfd.readouterr().err


def test_every_meaning_of_a_command_is_a_command_and_none_hides_one() -> None:
    assert set(cli._MEANT.values()) <= set(cli.COMMANDS)
    assert not set(cli._MEANT) & set(cli.COMMANDS)


@pytest.mark.parametrize("typed", [("logs", "--rank", "x"), ("logs", "-n", "0"), ("stacks", "--rank", "1.5")])
def test_a_wrong_number_is_answered_without_words_of_pydantics(
    typed: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli._exit_code(list(typed)) == 2
    said = capfd.readouterr().err
    assert "must be" in said
    assert "Input" not in said
