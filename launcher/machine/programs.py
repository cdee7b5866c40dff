"""Checks that the code of a Python component exists. The component's own Python looks for it, without importing it."""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

from launcher.borders.pairs import check_pairs
from launcher.borders.problems import check_problems
from launcher.borders.screen import quoted
from launcher.config.workload import BUILTIN_TASKS, VERIFIERS, TaskConfig
from launcher.errors import UserError
from launcher.machine.hub import check_hub
from launcher.machine.interpreters import ANSWER_WITHIN
from launcher.machine.model_files import check_model_files
from launcher.plan.program import python_code
from launcher.plan.spec import Plan, ProcessSpec

DATA_SUFFIXES = (".jsonl", ".json", ".parquet")
_FIND = r"""
import json, sys

def find(name, path=None):
    found = (finder.find_spec(name, path) for finder in sys.meta_path if hasattr(finder, "find_spec"))
    return next((spec for spec in found if spec is not None), None)

def source(spec):
    get = getattr(spec.loader, "get_source", None)
    return (get(spec.name) if get else None) or ""

def missing(module, attribute):
    path = spec = None
    for name in ancestors(module):
        if spec is not None and path is None:
            return f"{spec.name} is a module, not a package"
        package, spec = spec, find(name, path)
        if spec is None:  # unless the package sets its own __path__ on import
            return None if package is not None and "__path__" in source(package) else f"there is no module {name}"
        path = spec.submodule_search_locations
        path = getattr(path, "_path", path)
        sys.modules.setdefault(name, type(sys)(name)).__path__ = path  # a namespace package finds its parent there
    if attribute is None:
        return f"{module} has no __main__ to run" if path is not None and not find(f"{module}.__main__", path) else None
    return None if may_have(source(spec), attribute) else f"the module {module} has no {attribute}"

def ancestors(module):
    parts = module.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)]

def may_have(text, attribute):
    import ast
    names = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            names.add(node.name)
        elif isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).split(".")[0])
    return not text or attribute in names or names & {"*", "__getattr__", "globals", "exec", "setattr"}

print(json.dumps(missing(*json.loads(sys.argv[1]))))
"""


_RUNNERS = ("torchrun", "python", "python3")  # launch starts the script with them itself
_SHELL = re.compile(rb"#!.*[/ ](ba|z|da|k|fi)?sh(\s|$)")


def check_code(plan: Plan, spec: ProcessSpec, environment: Mapping[str, str]) -> None:
    """Raises UserError for a missing script, module or task.

    Not checked: code that an earlier component may still create, and scripts in the run's directory.
    """
    if any(other.may_exit for other in plan.processes if other.name in spec.after):
        return
    code = python_code(spec)
    if code and code.script is not None:
        _check_script(plan, spec, code.script)
    if code and code.module is not None and not _is_ours(spec, code.module):
        _check_module(spec, environment, code.module)
    for name, task in spec.tasks.items():
        _check_task(spec, environment, name, task)
    if spec.loss is not None:
        _check_attribute(spec, environment, "trainer.loss.target", spec.loss)
    if spec.data is not None:
        _check_data(spec, spec.data)
    if spec.model_directory is not None:
        check_model_files(spec.model_directory)
    for wanted in spec.on_hub:
        check_hub(wanted, spec.argv[0] if spec.ranks else sys.executable, environment)


def _check_data(spec: ProcessSpec, data: Path) -> None:
    path = spec.cwd / data
    if not path.exists():
        may_be_on_hub = re.fullmatch(r"[\w.-]+/[\w.-]+", str(data)) and data.suffix not in DATA_SUFFIXES
        hint = f"a data set of the hub is --trainer.data.dataset {data}" if may_be_on_hub else None
        raise UserError(f"--data: there is no file {quoted(str(path))}", hint)
    check_pairs(path, spec.chat_template)


def _check_script(plan: Plan, spec: ProcessSpec, name: str) -> None:
    script = spec.cwd / name
    if name in _RUNNERS and not script.is_file() and spec.ranks:
        raise UserError(f"{spec.name}: {name} is no script", f"leave out {name}: {_without_runner(plan, spec, name)}")
    if not script.exists() and not script.is_relative_to(plan.run.root):
        raise UserError(f"{spec.name}: there is no script {name} in {spec.cwd}")
    if script.is_dir() and not (script / "__main__.py").is_file():
        raise UserError(f"{spec.name}: the script {name} is a directory without a __main__.py", "name a file in it")
    if script.suffix != ".py" and _is_of_a_shell(script):
        here = quoted(name if "/" in name else f"./{name}")
        hint = f"start it with --no-python {here}" if spec.ranks else f"start it with {spec.name}.command"
        raise UserError(f"{spec.name}: {name} is not Python", hint)


def _without_runner(plan: Plan, spec: ProcessSpec, name: str) -> str:
    words = list(spec.argv[spec.argv.index(name, 1) + 1 :])
    while words and words[0] in ("-u", "-m", "torch.distributed.run", "torch.distributed.launch"):
        if words[0] == "-m" and words[1:2] not in (["torch.distributed.run"], ["torch.distributed.launch"]):
            break
        words.pop(0)
    return " ".join(["launch", plan.kind, *map(quoted, words)])


def _is_of_a_shell(script: Path) -> bool:
    """By its name, or by the interpreter in its first line. A pipe is not read: that would take its text away."""
    if script.suffix in (".sh", ".bash", ".zsh"):
        return True
    try:
        with script.open("rb") if script.is_file() else BytesIO() as file:
            return bool(_SHELL.match(file.readline(200)))
    except OSError:
        return False


def _is_ours(spec: ProcessSpec, module: str) -> bool:
    return spec.argv[0] == sys.executable and module.startswith("launcher.")


def _check_module(spec: ProcessSpec, environment: Mapping[str, str], module: str) -> None:
    if trouble := _missing(spec, environment, module, None):
        where = f"{spec.argv[0]} looks for it in {spec.cwd} and among its packages"
        raise UserError(f"{spec.name}: {trouble}", f"{where}; cwd names another place")


def _check_task(spec: ProcessSpec, environment: Mapping[str, str], field: str, task: TaskConfig) -> None:
    """Raises UserError for a task that is not there, a broken file, or a reward that is not there."""
    if task.file:
        check_problems(spec.cwd / task.file, task.function is None, spec.chat_template)
        if task.function:
            _check_attribute(spec, environment, "task.reward", task.reward)
        elif task.reward == "math" and _missing(spec, environment, "math_verify", "verify"):
            raise UserError("task.reward = 'math' needs the package math-verify", "pip install 'launch-rl[math]'")
    elif task.environment is not None:
        _check_environment(spec, environment, task.environment)
    elif task.name not in BUILTIN_TASKS:
        _check_attribute(spec, environment, field, task.name)


def _check_environment(spec: ProcessSpec, environment: Mapping[str, str], name: str) -> None:
    """Raises UserError when verifiers is missing, or the environment. An environment of verifiers is a package."""
    if spec.name != "orchestrator":
        return  # a trainer with data of its own
    if _missing(spec, environment, "verifiers.v1", "Env"):
        raise UserError(f"the task verifiers:{name} needs the package verifiers, 0.4 or newer", VERIFIERS)
    module = name.rpartition("/")[2].partition("@")[0].replace("-", "_").lower()
    if not _missing(spec, environment, f"verifiers.v1.tasksets.{module}", "__all__"):
        return
    if trouble := _missing(spec, environment, module, "__all__"):
        if "__all__" in trouble:
            raise UserError(f"the module {module} is no environment of verifiers 0.4: it exports no Taskset by __all__")
        where = f"{spec.argv[0]} looks for the module {module} among its packages and in {spec.cwd}"
        hint = f"{where}; install it by pip install DIR, or from the hub by prime env install OWNER/NAME"
        raise UserError(f"there is no environment {name!r}", hint)


def _check_attribute(spec: ProcessSpec, environment: Mapping[str, str], option: str, name: str) -> None:
    module, _, attribute = name.partition(":")
    if not attribute:
        raise UserError(f"{option} = {name!r}: it is module:function")
    if trouble := _missing(spec, environment, module, attribute):
        raise UserError(f"{option} = {name!r}: {trouble}", f"the module must be importable from {spec.cwd}")


def _missing(spec: ProcessSpec, environment: Mapping[str, str], module: str, attribute: str | None) -> str | None:
    """What the component's Python does not find. Also None if that Python fails: the run itself will show why."""
    command = [spec.argv[0], "-c", _FIND, json.dumps([module, attribute])]
    try:
        done = subprocess.run(
            command, cwd=spec.cwd, env=dict(environment), capture_output=True, text=True, timeout=ANSWER_WITHIN
        )
        found: str | None = json.loads(done.stdout) if done.returncode == 0 else None
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return found
