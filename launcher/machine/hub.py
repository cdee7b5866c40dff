"""Asks whether what a run needs of the Hugging Face hub can be had, by `launcher.machine.hub_program`.

When the hub cannot be reached, the cache will do, as it does for `transformers` and `datasets`. They find out anew for
each file, and try for 23 s: so it is found out here, once, and the components are told by HF_HUB_OFFLINE.
"""

import json
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from launcher.errors import UserError
from launcher.plan.environment import OFFLINE
from launcher.plan.spec import OnHub

ANSWER_WITHIN = 120.0  # seconds: a data set's first record may be far into a large file

_answers: dict[tuple[OnHub, str, frozenset[tuple[str, str]]], str] = {}


class Unreachable(UserError):
    """The hub cannot be asked from here. It may be different where the run will be."""


def check_hub(wanted: OnHub, python: str, environment: Mapping[str, str]) -> None:
    """Raises UserError when the model or data set cannot be had."""
    answer = _answer(wanted, python, environment)
    message, hint, of = answer.get("error"), answer.get("hint"), answer.get("of")
    if not message:
        return
    if of is None:
        raise (Unreachable if answer["is_unreachable"] else UserError)(message, hint)
    if _answer(wanted, python, {**environment, **OFFLINE}).get("error"):
        raise Unreachable(f"{message}, and {of} is not in the cache", hint)


def without_hub(wanted: Sequence[OnHub], python: str, environment: Mapping[str, str]) -> str | None:
    """Why the run has to do with the cache, which has all of these. None if the hub can be asked, or it has not."""
    answers = (_answer(one, python, environment) for one in wanted)
    away = next((answer for answer in answers if answer.get("of")), None)
    offline = {**environment, **OFFLINE}
    if away is None or any(_answer(one, python, offline).get("error") for one in wanted):
        return None
    return f"{away['error']}, so the cache is used: {', '.join(map(str, wanted))}"


def _answer(wanted: OnHub, python: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """What the program prints. The hub is asked once by the same variables."""
    key = wanted, python, frozenset(item for item in environment.items() if item[0].startswith("HF_"))
    if key not in _answers:
        _answers[key] = _ask(wanted, python, environment)
    answer: dict[str, Any] = json.loads(_answers[key])
    return answer


def _ask(wanted: OnHub, python: str, environment: Mapping[str, str]) -> str:
    """{} also if that Python fails: the run itself will show why."""
    command = [python, "-m", "launcher.machine.hub_program", wanted.kind, wanted.asked]
    try:
        done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, timeout=ANSWER_WITHIN)
        last = done.stdout.strip().rpartition("\n")[2]
        return last if isinstance(json.loads(last), dict) else "{}"
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return "{}"
