"""Code that is not there is found before anything starts, and none of it is imported for that."""

import os
import shlex
import sys
import zipfile
from pathlib import Path

import pytest

from launcher.config.run import Config, SFTConfig
from launcher.errors import UserError
from launcher.machine.probe import check_programs
from tests.plans import machine, plan_of, rl, sft, train

BOMB = "raise SystemExit('imported')\n"
FILES = ("pack/__init__.py", "pack/train.py", "pack/whole/__init__.py", "pack/whole/__main__.py", "names/deep/a.py")
PREPARED = """
[services.get]
command = ["true"]
may_exit = true
[trainer]
after = ["get"]
script = "new.py"
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory with packages and modules; importing any of them would show."""
    for name in FILES:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(BOMB)
    (tmp_path / "moving").mkdir()
    (tmp_path / "moving" / "__init__.py").write_text("__path__ = ['/elsewhere']\n")
    (tmp_path / "tasks.py").write_text(f"{BOMB}\nclass Mine: ...\nfrom os import path as Borrowed\n")
    (tmp_path / "any.py").write_text("from os.path import *\n")
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as packed:
        packed.writestr("inside/__init__.py", BOMB)
        packed.writestr("inside/train.py", BOMB)
    return tmp_path


def check(config: Config, here: Path) -> None:
    plan = plan_of(config, machine(cwd=here, python=sys.executable), root=here / "run")
    check_programs(plan, dict(os.environ))


@pytest.mark.parametrize("module", ["pack.train", "pack.whole", "names.deep.a", "moving.somewhere", "http.server"])
def test_a_module_that_is_there_is_found_without_being_imported(here: Path, module: str) -> None:
    check(sft("--trainer.module", module), here)


@pytest.mark.parametrize(
    ("module", "trouble"),
    [
        ("nowhere", "there is no module nowhere"),
        ("pack.trian", "there is no module pack.trian"),
        ("nowhere.train", "there is no module nowhere"),
        ("names.deep.b", "there is no module names.deep.b"),
        ("pack", "pack has no __main__ to run"),
        ("tasks.more", "tasks is a module, not a package"),
    ],
)
def test_a_module_that_is_not_there_is_refused(here: Path, module: str, trouble: str) -> None:
    with pytest.raises(UserError, match=f"trainer: {trouble}") as caught:
        check(sft("--trainer.module", module), here)
    assert str(here) in str(caught.value)


@pytest.mark.parametrize("name", ["orchestrator", "inference"])
def test_the_module_of_each_component_is_looked_for(here: Path, name: str) -> None:
    with pytest.raises(UserError, match=f"{name}: there is no module nowhere"):
        check(rl(f"--{name}.module", "nowhere", "--inference.takes-weights"), here)


def test_a_module_of_a_command_is_looked_for_as_well(here: Path) -> None:
    def command(*words: str) -> SFTConfig:
        return sft(*(f"--trainer.command={word}" for word in words))

    check(command("{python}", "-u", "-m", "pack.train"), here)
    check(command("{python}", "-c", "pass"), here)
    with pytest.raises(UserError, match=r"there is no module nowhere"):
        check(command("{python}", "-m", "nowhere"), here)
    with pytest.raises(UserError, match=r"there is no script nowhere.py"):
        check(command("{python}", "nowhere.py"), here)


def test_a_module_is_found_on_the_path_that_its_component_is_given(here: Path) -> None:
    config = ("--trainer.module", "inside.train", "--trainer.env", f"PYTHONPATH={here / 'packed.zip'}")
    check(sft(*config), here)
    with pytest.raises(UserError, match=r"there is no module inside"):
        check(sft(*config[:2]), here)


@pytest.mark.parametrize("name", ["trainer", "orchestrator", "inference"])
def test_a_script_that_is_not_there_is_refused(here: Path, name: str) -> None:
    with pytest.raises(UserError, match=f"{name}: there is no script train.py in {here}"):
        check(rl(f"--{name}.script", "train.py", "--inference.takes-weights"), here)
    (here / "train.py").touch()
    check(rl(f"--{name}.script", "train.py", "--inference.takes-weights"), here)


def test_a_directory_is_a_script_if_it_can_be_run(here: Path) -> None:
    check(sft("--trainer.script", "pack/whole"), here)
    with pytest.raises(UserError, match=r"the script names/deep is a directory without a __main__\.py"):
        check(sft("--trainer.script", "names/deep"), here)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("torchrun --nproc_per_node 2 train.py --lr 1", "torchrun: launch train --nproc_per_node 2 train.py --lr 1"),
        ("python -u train.py -u", "python: launch train train.py -u"),
        ("python3 -m pkg.train", "python3: launch train -m pkg.train"),
        ("python -m torch.distributed.run -m pkg.train", "python: launch train -m pkg.train"),
    ],
)
def test_torchrun_and_python_before_the_script_are_to_be_left_out(here: Path, words: str, hint: str) -> None:
    with pytest.raises(UserError) as caught:
        check(train(*words.split()), here)
    assert caught.value.hint == f"leave out {hint}"


@pytest.mark.parametrize(
    ("name", "text"), [("run.sh", ""), ("a b.bash", ""), ("run", "#!/usr/bin/env bash\n"), ("run", "#!/bin/sh -e\n")]
)
def test_a_script_of_a_shell_is_refused_with_what_starts_it(here: Path, name: str, text: str) -> None:
    (here / name).write_text(text)
    with pytest.raises(UserError, match=f"trainer: {name} is not Python") as caught:
        check(sft("--trainer.script", name), here)
    assert caught.value.hint == f"start it with --no-python {shlex.quote(f'./{name}')}"
    (here / name).chmod(0o755)
    check(sft("--trainer.script", f"./{name}", "--no-python"), here)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("train", "#!/usr/bin/env python3\n"),
        ("train", "#!/usr/bin/env -S uv run --script\n"),
        ("train", "#!/home/me/sh/bin/python\n"),
        ("both.py", "#!/bin/sh\n'''exec' python $0\n'''\n"),
    ],
)
def test_a_script_that_python_may_run_is_taken(here: Path, name: str, text: str) -> None:
    (here / name).write_text(text)
    check(sft("--trainer.script", name), here)


def test_a_script_is_looked_for_where_it_is_to_run(here: Path) -> None:
    (here / "sub dir").mkdir()
    (here / "sub dir" / "train.py").touch()
    check(sft("--trainer.script", "train.py", "--trainer.cwd", "sub dir"), here)


def test_what_a_component_before_it_may_prepare_is_not_looked_for(here: Path) -> None:
    file = here / "request.toml"
    file.write_text(PREPARED)
    check(sft("@", str(file)), here)


@pytest.mark.parametrize("task", ["tasks:Mine", "tasks:Borrowed", "any:Thing", "moving.x:Thing"])
def test_a_task_that_is_there_or_may_be_is_taken(here: Path, task: str) -> None:
    check(rl("--task", task), here)


@pytest.mark.parametrize(
    ("task", "trouble"),
    [
        ("tasks:Yours", "the module tasks has no Yours"),
        ("nowhere:Mine", "there is no module nowhere"),
    ],
)
def test_a_task_that_is_not_there_is_refused(here: Path, task: str, trouble: str) -> None:
    for config in (rl("--task", task), sft("--task", task)):
        with pytest.raises(UserError, match=f"task.name = '{task}': {trouble}"):
            check(config, here)
    check(sft("--task", task, "--trainer.module", "pack.train"), here)


@pytest.mark.parametrize(
    "task",
    ["tasks", "tasks:", ":Mine", ".tasks:Mine", "a..b:Mine", "a/b:Mine", "tasks:Mine.x", "reversed", "sums.json"],
)
def test_a_task_that_can_be_none_is_refused_with_what_is_allowed(task: str) -> None:
    allowed = (
        r"there are reverse, arithmetic, a \.jsonl or \.parquet file, verifiers:NAME, or your class as module:Class"
    )
    with pytest.raises(UserError, match=rf"there is no task '.*'; {allowed}"):
        rl("--task", task)


def test_a_broken_line_of_a_tasks_file_and_a_reward_that_is_not_there_are_refused_before_the_start(here: Path) -> None:
    (here / "sums.jsonl").write_text('{"prompt": "2+3=", "answer": "5"}\n' * 3)
    check(rl("--task", "sums.jsonl"), here)
    check(rl("--task", "sums.jsonl", "--task.reward", "tasks:Mine"), here)
    with pytest.raises(UserError, match=r"task.reward = 'tasks:Yours': the module tasks has no Yours"):
        check(rl("--task", "sums.jsonl", "--task.reward", "tasks:Yours"), here)
    with (here / "sums.jsonl").open("a") as file:
        file.write('{"prompt": "2+3="}\n')
    with pytest.raises(UserError, match=f"{here}/sums.jsonl, line 4 has no answer"):
        check(rl("--task", "sums.jsonl"), here)
    check(rl("--task", "sums.jsonl", "--task.reward", "tasks:Mine"), here)


def test_a_set_to_evaluate_on_that_is_not_there_is_refused_before_the_start(here: Path) -> None:
    (here / "sums.jsonl").write_text('{"prompt": "2+3=", "answer": "5"}\n' * 3)
    check(rl("--orchestrator.evaluation.sets", "sums=sums.jsonl"), here)
    with pytest.raises(UserError, match=f"{here}/none.jsonl"):
        check(rl("--orchestrator.evaluation.sets", "none=none.jsonl"), here)
    with pytest.raises(UserError, match=r"orchestrator\.evaluation\.sets\.mine = 'tasks:Yours': .* has no Yours"):
        check(rl("--orchestrator.evaluation.sets", "mine=tasks:Yours"), here)


@pytest.mark.parametrize("name", ["", "a/b", "a b", "ä", "x" * 64])
def test_a_set_has_a_name_that_a_metric_can_have(here: Path, name: str) -> None:
    (here / "sets.toml").write_text(f'orchestrator.evaluation.sets = {{ "{name}" = "sums.jsonl" }}')
    with pytest.raises(UserError, match="names no set: a name has letters, digits"):
        rl("@", str(here / "sets.toml"))


@pytest.mark.parametrize("reward", ["best", ".rewards:best", "rewards:"])
def test_a_reward_that_is_none_is_refused_with_what_is_allowed(reward: str) -> None:
    allowed = "there are exact, contains, number, math, or your function as module:function"
    with pytest.raises(UserError, match=f"there is no reward '{reward}'; {allowed}"):
        rl("--task.reward", reward)


def test_a_reward_by_math_verify_is_taken_where_that_is_installed(here: Path) -> None:
    (here / "sums.jsonl").write_text('{"prompt": "2+3=", "answer": "5"}\n' * 3)
    check(rl("--task", "sums.jsonl", "--task.reward", "math"), here)


def test_an_environment_that_is_installed_is_found_without_being_imported(here: Path) -> None:
    (here / "my_env").mkdir()
    (here / "my_env" / "__init__.py").write_text(f"{BOMB}\n__all__ = ['Tasks']\n")
    for name in ("my-env", "owner/my-env@0.1", "textarena"):  # the last one comes with verifiers
        check(rl("--task", f"verifiers:{name}"), here)


def test_an_environment_that_is_not_there_is_refused_with_the_ways_to_install_one(here: Path) -> None:
    with pytest.raises(UserError, match="there is no environment 'owner/my-env'") as caught:
        check(rl("--task", "verifiers:owner/my-env"), here)
    assert "pip install" in str(caught.value) and "prime env install" in str(caught.value)
    with pytest.raises(UserError, match=r"the module tasks is no environment of verifiers 0\.4"):
        check(rl("--task", "verifiers:tasks"), here)


def test_without_verifiers_the_command_that_installs_it_is_named(here: Path) -> None:
    (here / "verifiers").mkdir()
    (here / "verifiers" / "__init__.py").write_text("")  # an old one, without verifiers.v1
    with pytest.raises(UserError, match="needs the package verifiers") as caught:
        check(rl("--task", "verifiers:my-env"), here)
    assert "pip install 'launch-rl[verifiers]'" in str(caught.value)


def test_a_broken_line_of_the_data_is_named_before_the_start(here: Path) -> None:
    (here / "pairs.jsonl").write_text('{"prompt": "a", "completion": "b"}\n' * 811 + "{\n")
    with pytest.raises(UserError, match=r"pairs.jsonl, line 812 is not JSON"):
        check(sft("--data", "pairs.jsonl"), here)
    check(sft("--trainer.script", "tasks.py", "--data", "pairs.jsonl"), here)


@pytest.mark.parametrize(
    ("data", "hint"),
    [("acme/chats", "a data set of the hub is --trainer.data.dataset acme/chats"), ("chats.json", None)],
)
def test_data_that_are_not_there_are_refused_and_may_be_on_the_hub(here: Path, data: str, hint: str | None) -> None:
    with pytest.raises(UserError, match=f"--data: there is no file '?{here / data}") as caught:
        check(sft("--data", data), here)
    assert caught.value.hint == hint


def test_a_reward_may_be_async_and_a_loss_must_be_there(here: Path) -> None:
    (here / "sums.jsonl").write_text('{"prompt": "1+1=", "answer": "2"}\n')
    (here / "mine.py").write_text(f"{BOMB}\nasync def score(prompt, completion, answer): ...\n")
    words = ("--task", "sums.jsonl", "--task.reward", "mine:score", "--trainer.loss.target")
    check(rl(*words, "mine:score"), here)
    with pytest.raises(UserError, match=r"trainer.loss.target = 'mine:loss': the module mine has no loss"):
        check(rl(*words, "mine:loss"), here)
    with pytest.raises(UserError, match=r"trainer.loss.target = 'mine': it is module:function"):
        check(rl(*words, "mine"), here)


def test_a_log_dir_that_cannot_be_created_is_refused(here: Path) -> None:
    (here / "file").touch()
    with pytest.raises(UserError, match="file/logs: it cannot be created or written to"):
        check(train("--log-dir", str(here / "file" / "logs"), "pack/train.py"), here)
    check(train("--log-dir", str(here / "new" / "logs"), "pack/train.py"), here)
