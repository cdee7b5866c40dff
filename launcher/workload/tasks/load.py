"""The task that a configuration names."""

from importlib import import_module
from typing import Any, cast

from launcher.borders.problems import Prompt
from launcher.config.workload import TaskConfig
from launcher.errors import UserError
from launcher.workload.tasks.files import FileTask, Reward
from launcher.workload.tasks.letters import Arithmetic, ReverseText
from launcher.workload.tasks.rewards import BY_NAME
from launcher.workload.tasks.task import Task

BUILTIN = {"reverse": ReverseText, "arithmetic": Arithmetic}


def load_task(config: TaskConfig, for_evaluation: bool = False) -> Task:
    """The task that the configuration names. Raises UserError when it is not there or refuses its arguments.

    `for_evaluation` holds out every prompt of a file.
    """
    if config.file is not None:
        quick = config.function is None and config.reward != "math"
        if config.args:
            raise UserError(f"task.args are for a class, and the task is the file {config.file}")
        return FileTask(config.file, _reward(config), config.function is None, quick, for_evaluation)
    kind = BUILTIN.get(config.name) or _imported("task.name", config.name)
    try:
        return cast(Task, kind(**config.args))
    except (TypeError, ValueError) as error:
        raise UserError(f"the task {config.name} does not take task.args {config.args}: {error}") from error


def _reward(config: TaskConfig) -> Reward:
    if config.function is not None:
        return cast(Reward, _imported("task.reward", config.reward))
    compare = BY_NAME[config.reward]()

    def reward(prompt: Prompt, completion: str, answer: Any) -> float:
        return compare(completion, answer)

    return reward


def _imported(option: str, name: str) -> Any:
    module_name, _, attribute = name.partition(":")
    try:
        return getattr(import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        hint = "it is module:name, and the module must be importable from the working directory"
        raise UserError(f"{option} = {name!r}: {error}", hint) from error
