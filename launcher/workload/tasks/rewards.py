"""How a completion is compared with a file's answer, by name. Each gives 1 or 0, except where it says otherwise."""

import logging
import math
import re
from collections.abc import Callable
from typing import Any

from launcher.errors import UserError

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:[eE][+-]?\d+)?|-?\.\d+")


def exact(completion: str, answer: Any) -> float:
    """The completion is the answer, but for white space around it."""
    return float(completion.strip() == str(answer).strip())


def contains(completion: str, answer: Any) -> float:
    """The answer is somewhere in the completion."""
    return float(str(answer).strip() in completion)


def number(completion: str, answer: Any) -> float:
    """The last number in the completion is the last number in the answer: `… so it is 1,200.` and `#### 1200`."""
    given, right = _last_number(completion), _last_number(str(answer))
    return float(given is not None and right is not None and math.isclose(given, right, rel_tol=1e-9, abs_tol=1e-12))


def _last_number(text: str) -> float | None:
    found = _NUMBER.findall(text)
    return float(found[-1].replace(",", "")) if found else None


def load_math() -> Callable[[str, Any], float]:
    """`math`: completion and answer are equal as mathematics, by math-verify. Raises UserError if that is missing."""
    try:
        from math_verify import parse, verify
    except ImportError as error:
        raise UserError(
            "task.reward = 'math' needs the package math-verify", "pip install 'launch-rl[math]'"
        ) from error

    # its own time limits need the main thread, and are not needed: every reward has one
    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns of this at every call

    def equal(completion: str, answer: Any) -> float:
        gold = str(answer)
        gold = gold if "$" in gold or "\\boxed" in gold else f"${gold}$"
        given = parse(completion, parsing_timeout=None, raise_on_error=True)
        return float(verify(parse(gold, parsing_timeout=None), given, timeout_seconds=None))

    return equal


BY_NAME: dict[str, Callable[[], Callable[[str, Any], float]]] = {
    "exact": lambda: exact,
    "contains": lambda: contains,
    "number": lambda: number,
    "math": load_math,
}
