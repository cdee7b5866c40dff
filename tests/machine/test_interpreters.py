"""Pythons that are not ours."""

import os
import sys
import venv
from pathlib import Path

import pytest

from launcher.errors import UserError
from launcher.machine.interpreters import find_python
from launcher.machine.probe import check_programs
from tests.plans import machine, plan_of, sft


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with nothing in it."""
    directory = tmp_path_factory.mktemp("venvs") / "bare one"
    venv.create(directory, with_pip=False)
    return directory


def test_a_virtual_environment_and_its_interpreter_mean_the_same(bare: Path) -> None:
    interpreter = str(bare / "bin" / "python")
    assert find_python("trainer", bare) == find_python("trainer", bare / "bin" / "python") == interpreter


def test_a_name_is_looked_for_on_the_path() -> None:
    assert Path(find_python("trainer", Path("python3"))).is_absolute()


@pytest.mark.parametrize("python", ["/nowhere/bin/python", "no-such-python", "."])
def test_what_is_no_interpreter_is_refused(python: str) -> None:
    with pytest.raises(UserError, match=r"trainer.python .* is not a program"):
        find_python("trainer", Path(python))


def test_a_python_without_torch_is_refused_for_torchrun_alone(bare: Path, tmp_path: Path) -> None:
    on = machine(cwd=tmp_path, python=sys.executable, pythons={"trainer": str(bare / "bin" / "python")})
    with pytest.raises(UserError, match="has no torch"):
        check_programs(plan_of(sft("--trainer.module", "m", "--trainer.python", "x"), on), os.environ)
    check_programs(plan_of(sft("--trainer.command", "{python}", "--trainer.python", "x"), on), os.environ)
