"""The command line of a workload's module, which people also start by hand."""

from pathlib import Path

import pytest

from tests.children import run_python

PROGRAM = """
import sys
from launcher.options.entry import load_component
from launcher.config.training import SFTTrainerConfig
config = load_component(SFTTrainerConfig, sys.argv[1:])
print(config.max_steps, config.batch_size, config.wandb.enabled, config.output_dir)
"""


@pytest.fixture
def module(tmp_path: Path) -> Path:
    path = tmp_path / "by_hand.py"
    path.write_text(f'"""Trains by hand."""\n{PROGRAM}')
    return path


def run(module: Path, *arguments: str) -> tuple[int, str, str]:
    as_main = "runpy.run_module('by_hand', run_name='__main__', alter_sys=True)"
    code = f"import runpy, sys; sys.argv = {['by_hand', *arguments]!r}; {as_main}"
    done = run_python(code, module.parent)
    return done.returncode, done.stdout, done.stderr


def test_it_takes_files_and_dotted_options_without_launch(module: Path) -> None:
    (module.parent / "x.toml").write_text("max_steps = 3\nbatch_size = 8\n")
    assert run(module, "@", "x.toml", "--batch-size", "16", "--wandb") == (0, "3 16 True outputs/by-hand\n", "")


def test_its_help_is_complete_and_starts_nothing(module: Path) -> None:
    code, output, errors = run(module, "--help")
    assert (code, errors) == (0, "")
    assert "Trains by hand." in output
    assert "--no-wandb.log-extras.distributions" in output
    assert output.startswith("Usage: python -m by_hand [@ FILE]")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--batch-siez", "1"), "python -m by_hand: there is no option --batch-siez"),
        (("--batch-size", "0"), "python -m by_hand: --batch-size 0: must be greater than or equal to 1"),
        (("@", "no.toml"), "python -m by_hand: no.toml: there is no such file"),
    ],
)
def test_a_wrong_request_is_one_message_and_exit_code_2(
    module: Path, arguments: tuple[str, ...], expected: str
) -> None:
    code, output, errors = run(module, *arguments)
    assert (code, output) == (2, "")
    assert errors.startswith(expected)
    assert "Traceback" not in errors
