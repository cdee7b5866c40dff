"""Facts about the machine."""

import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.config.workload import TinyConfig
from launcher.errors import UserError
from launcher.machine.probe import check_programs, probe, visible_gpus
from launcher.workload.models.tiny import make_tiny
from tests.plans import machine, plan_of, rl, sft


@pytest.mark.parametrize(
    ("listed", "gpus"),
    [
        ("0", ("0",)),
        ("0,1,2", ("0", "1", "2")),
        (" 3 , 1 ", ("3", "1")),
        ("", ()),
        ("-1", ()),
        ("0,-1,2", ("0",)),  # CUDA looks no further
        ("NoDevFiles", ()),
        ("GPU-8932f937-d72c", ("GPU-8932f937-d72c",)),
        ("MIG-GPU-8932f937/1/0,MIG-7c0e", ("MIG-GPU-8932f937/1/0", "MIG-7c0e")),
    ],
)
def test_gpus_are_those_that_cuda_would_see(listed: str, gpus: tuple[str, ...]) -> None:
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": listed}) == gpus


@pytest.mark.skipif(Path("/proc/driver/nvidia").exists(), reason="this machine has GPUs")
def test_a_machine_without_a_driver_has_no_gpus() -> None:
    assert visible_gpus({}) == ()


def test_the_machine_is_where_we_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    monkeypatch.setenv("PET_NNODES", "2")
    found = probe(rl())
    assert (found.python, found.cwd, found.gpus) == (sys.executable, tmp_path, ("1", "0"))
    assert "PET_NNODES" in found.variables
    assert found.cpus >= 1
    assert found.free_port > 0


@pytest.mark.parametrize(
    "config",
    [sft(), rl("--no-inference", "--orchestrator.inference-url", "http://x"), rl("--inference.port", "1")],
    ids=["sft", "server elsewhere", "port given"],
)
def test_a_free_port_is_looked_for_only_where_one_is_needed(config: object) -> None:
    assert probe(config).free_port == 0  # type: ignore[arg-type]


# --- programs ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A directory with a program, and a file that is none."""
    (tmp_path / "run me").write_text("#!/bin/sh\n")
    (tmp_path / "run me").chmod(0o755)
    (tmp_path / "only data").write_text("")
    return tmp_path


def checked(where: Path, program: str, *arguments: str, path: str = "/usr/bin:/bin") -> None:
    config = sft(f"--trainer.command={shlex.quote(program)}", *arguments)
    check_programs(plan_of(config, machine(cwd=where)), {"PATH": path})


@pytest.mark.parametrize("program", ["sh", "/bin/sh", "./run me"])
def test_a_program_is_found_on_the_path_or_where_it_is_to_run(programs: Path, program: str) -> None:
    checked(programs, program)


def test_a_program_is_found_on_the_path_that_its_component_is_given(programs: Path) -> None:
    checked(programs, "run me", f"--trainer.env=PATH={programs}")


@pytest.mark.parametrize("program", ["no-such-program", "/no/such/program", "./only data", "./missing", "run me"])
def test_a_program_that_cannot_be_found_is_refused(programs: Path, program: str) -> None:
    with pytest.raises(UserError, match=r"trainer: the program .* cannot be found"):
        checked(programs, program)


def test_a_program_without_a_name_is_refused(programs: Path) -> None:
    with pytest.raises(UserError, match=r"--trainer\.command: is empty; name a program"):
        checked(programs, "")


@pytest.mark.parametrize(
    ("program", "hint"),
    [("./only data", "chmod +x './only data'"), ("run me", "a file of this directory is ./run me"), ("nowhere", None)],
)
def test_what_torchrun_is_to_start_without_python_must_be_a_program(
    programs: Path, program: str, hint: str | None
) -> None:
    def check(typed: str) -> None:
        config = sft("--no-python", f"--trainer.script={typed}")
        check_programs(plan_of(config, machine(cwd=programs, python=sys.executable)), dict(os.environ))

    check("./run me")
    check("sh")
    with pytest.raises(UserError, match=f"the program {program} cannot be found, or not executed") as caught:
        check(program)
    assert caught.value.hint == hint


def test_a_working_directory_that_does_not_exist_is_refused(programs: Path) -> None:
    with pytest.raises(UserError, match=f"trainer: its working directory {programs}/missing does not exist"):
        checked(programs, "sh", "--trainer.cwd=missing")


def test_a_directory_for_weights_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    plan = plan_of(rl("--weights-dir", str(tmp_path)), machine(cwd=tmp_path, python=sys.executable))
    check_programs(plan, dict(os.environ))
    with pytest.raises(UserError, match=f"--weights-dir {tmp_path}/none: it cannot be written to"):
        check_programs(replace(plan, weights_dir=tmp_path / "none"), dict(os.environ))


def test_the_model_of_the_builtin_server_is_found_beside_a_trainer_of_the_users_own(tmp_path: Path) -> None:
    make_tiny(tmp_path / "mine", TinyConfig(), 0)
    own = ("--trainer.command=true", "--model", str(tmp_path / "mine"))
    assert probe(rl(*own)).model_path == str(tmp_path / "mine")
    assert probe(rl(*own, "--inference.command=true", "--inference.takes-weights")).model_path == ""
