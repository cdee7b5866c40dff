"""The program and its arguments at the end of a command line."""

import inspect
from pathlib import Path
from typing import Annotated

import pytest
import typer

from launcher.config.run import SFTConfig, TrainConfig
from launcher.errors import UserError
from launcher.options.fields import config_fields
from tests.plans import rl, sft, train, typed


@pytest.mark.parametrize(
    ("words", "program", "arguments"),
    [
        (("train.py",), "train.py", ()),
        (("train.py", "--lr", "1e-4"), "train.py", ("--lr", "1e-4")),
        (("--nproc", "8", "--wandb", "train.py", "--nproc", "2", "-h"), "train.py", ("--nproc", "2", "-h")),
        (("--nproc_per_node=8", "train.py", "@", "x", "--help", "--"), "train.py", ("@", "x", "--help", "--")),
        (("train.py", "--", "--lr", "1"), "train.py", ("--lr", "1")),
        (("--trainer.env", "A=b.py", "a b.py", "--x={y}"), "a b.py", ("--x={{y}}",)),
    ],
)
def test_the_first_word_that_is_no_option_is_the_script_and_all_after_it_is_its_own(
    words: tuple[str, ...], program: str, arguments: tuple[str, ...]
) -> None:
    for config in (train(*words), sft(*words)):
        assert (config.trainer.script, config.trainer.args) == (program, arguments)


@pytest.mark.parametrize("flag", ["-m", "--module"])
def test_a_module_is_named_as_torchrun_has_it(flag: str) -> None:
    for words in (("--nproc", "2", flag, "pkg.train", "-m", "x"), (flag, "--nproc", "2", "pkg.train", "-m", "x")):
        trainer = train(*words).trainer
        assert (trainer.module, trainer.script, trainer.nproc, trainer.args) == ("pkg.train", None, 2, ("-m", "x"))


def test_the_program_may_stand_behind_the_dashes_unless_something_else_may_have_named_one(tmp_path: Path) -> None:
    """`torchrun OPTIONS -- train.py ARGUMENTS` is one of torchrun's forms."""
    trainer = train("--nproc_per_node", "2", "--", "train.py", "--lr", "1").trainer
    assert (trainer.script, trainer.nproc, trainer.args) == ("train.py", 2, ("--lr", "1"))
    file = tmp_path / "run.toml"
    file.write_text('[trainer]\nscript = "train.py"\n')
    for words in (("@", str(file)), ("--trainer.script", "train.py")):
        trainer = train(*words, "--", "config.py").trainer
        assert (trainer.script, trainer.args) == ("train.py", ("config.py",))


def test_a_file_before_the_script_is_read_and_the_scripts_arguments_follow_those_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('[trainer]\nargs = ["--epochs", "3"]\nnproc = 4\n')
    trainer = train("@", str(file), "train.py", "--lr", "1").trainer
    assert (trainer.script, trainer.nproc, trainer.args) == ("train.py", 4, ("--epochs", "3", "--lr", "1"))


@pytest.mark.parametrize("other", ['module = "pkg.old"', 'script = "old.py"', 'command = ["old", "x"]'])
def test_a_program_that_is_typed_wins_over_that_of_a_file_and_does_not_get_its_arguments(
    tmp_path: Path, other: str
) -> None:
    file = tmp_path / "run.toml"
    file.write_text(f'[trainer]\n{other}\nargs = ["--epochs", "3"]\nresume-args = ["--again"]\nnproc = 4\n')
    for words in (("train.py", "--lr", "1"), ("-m", "train.py".removesuffix(".py"), "--lr", "1")):
        trainer = train("@", str(file), *words).trainer
        assert (trainer.script or trainer.module) == words[-3]
        assert (trainer.command, trainer.args, trainer.resume_args) == (None, ("--lr", "1"), ())
        assert trainer.nproc == 4


def test_the_program_of_a_file_that_is_typed_again_keeps_the_arguments_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('[trainer]\nscript = "train.py"\nargs = ["--epochs", "3"]\n')
    assert train("@", str(file), "train.py", "--lr", "1").trainer.args == ("--epochs", "3", "--lr", "1")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run.toml",), "run.toml is no program\n  did you mean @ run.toml?"),
        (("-m",), "-m names no module"),
        (("-m", "--", "x"), "-m names no module"),
        (("-m", "train.py"), "-m train.py: that is a script"),
        (("",), "--trainer.script: is empty; name a file"),
        (("--module=",), "-m names no module"),
        (("--trainer.script", "a.py", "b.py"), "two programs are named: a.py and b.py"),
        (("--trainer.script", "a.py", "-m", "b"), "module and script are both set"),
    ],
)
def test_what_can_be_no_program_is_refused(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError) as caught:
        train(*words)
    assert message in str(caught.value)


DRY_RUN = inspect.Parameter(
    "dry_run", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, typer.Option("--dry-run")]
)


@pytest.mark.parametrize("words", [("train.py", "--dry-run"), ("-m", "train.py", "--lr", "1", "--dry-run", "--", "x")])
def test_a_dry_run_that_would_start_the_run_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match=r"put it before train, or write train -- --dry-run"):
        typed(TrainConfig, *(word.removesuffix(".py") for word in words), more=[DRY_RUN])


@pytest.mark.parametrize(
    "words", [("train.py", "--", "--dry-run"), ("train.py", "x", "--", "--dry-run"), ("--dry-run", "a.py", "--dry-run")]
)
def test_a_dry_run_of_the_programs_own_is_left_to_it(words: tuple[str, ...]) -> None:
    assert typed(TrainConfig, *words, more=[DRY_RUN]).trainer.args[-1] == "--dry-run"


def test_launch_rl_takes_no_program_that_way() -> None:
    with pytest.raises(UserError, match=r"did you mean --trainer.script train.py\?"):
        rl("train.py")


def test_launch_train_has_no_word_of_the_reference_workload() -> None:
    options = {field.option for field in config_fields(TrainConfig)}
    assert not options & {"task", "task.name", "seed", "max-steps", "trainer.model.name", "trainer.optimizer.lr"}
    assert not [option for option in options if option.startswith(("trainer.data", "trainer.loss", "inference"))]
    assert options < {field.option for field in config_fields(SFTConfig)}
