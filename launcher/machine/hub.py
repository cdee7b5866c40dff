"""Asks whether what a run needs of the Hugging Face hub can be had, by `launcher.machine.hub_program`."""

import json
import subprocess
from collections.abc import Mapping

from launcher.errors import UserError
from launcher.plan.spec import OnHub

ANSWER_WITHIN = 120.0  # seconds: a data set's first record may be far into a large file

_answers: dict[tuple[OnHub, str, frozenset[tuple[str, str]]], str] = {}


class Unreachable(UserError):
    """The hub cannot be asked from here. It may be different where the run will be."""


def check_hub(wanted: OnHub, python: str, environment: Mapping[str, str]) -> None:
    """Raises UserError when the model or data set cannot be had. The hub is asked once, by the same variables."""
    key = wanted, python, frozenset(item for item in environment.items() if item[0].startswith("HF_"))
    if key not in _answers:
        _answers[key] = _ask(wanted, python, environment)
    answer = json.loads(_answers[key])
    if answer.get("error"):
        raise (Unreachable if answer["is_unreachable"] else UserError)(answer["error"], answer["hint"])


def _ask(wanted: OnHub, python: str, environment: Mapping[str, str]) -> str:
    """{} also if that Python fails: the run itself will show why."""
    command = [python, "-m", "launcher.machine.hub_program", wanted.kind, wanted.asked]
    try:
        done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, timeout=ANSWER_WITHIN)
        last = done.stdout.strip().rpartition("\n")[2]
        return last if isinstance(json.loads(last), dict) else "{}"
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return "{}"
