"""What all sections of the configuration share."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WrapValidator

from launcher.borders.values import MOST_COUNT, MOST_STEPS, NAME

S = TypeVar("S", bound="Section")

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
LONGEST_DURATION = "46296d"  # below the 4e9 seconds of launcher.borders.values.Seconds
_TOO_LONG = 4e9  # seconds


class Section(BaseModel):
    """A table of the configuration. It is frozen, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, allow_inf_nan=False)

    def unused(self) -> frozenset[str]:
        """The fields that no program reads with these settings; they are left out of the run's config.toml."""
        return frozenset()

    def over(self, general: Self) -> Self:
        """This section, with what is not set in it taken from `general`."""
        return type(self).model_validate(merge(set_fields(general), set_fields(self)))


class Switch(Section):
    """A section that may be absent: `--section` and `--no-section`, or `section = false` in TOML."""

    enabled: bool = False


def set_fields(section: Section) -> dict[str, Any]:
    """What the user has set, without the defaults."""
    return section.model_dump(exclude_unset=True, by_alias=True)


def merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """`above` over `below`, table by table."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def parse_duration(value: Any) -> Any:
    """Seconds from "30s", "1h30m", "250ms" or a plain number; pydantic refuses anything else.

    Raises ValueError, also for a duration that is too long for a timer.
    """
    seconds = _seconds(value) if isinstance(value, str) else value
    if isinstance(seconds, (int, float)) and not abs(seconds) < _TOO_LONG:  # neither is nan
        raise ValueError(f"too long; a duration is at most {LONGEST_DURATION}")
    return seconds


def _seconds(text: str) -> float:
    text = text.replace(" ", "")
    if text and _DURATION.sub("", text) == "":
        return sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(text))
    try:
        return float(text)
    except ValueError:
        raise ValueError("not a duration; write 30s, 10m, 1h30m or a number of seconds") from None


class TypedDuration(float):
    """Seconds, and the text that they were written as; it is written so again."""

    def __new__(cls, seconds: float, typed: str) -> Self:
        duration = super().__new__(cls, seconds)
        duration.typed = typed
        return duration

    typed: str

    def __reduce__(self) -> tuple[type[Self], tuple[float, str]]:  # for copies
        return type(self), (float(self), self.typed)


def _remembering(value: Any, handler: Callable[[Any], float]) -> float:
    seconds = handler(value)
    typed = value.typed if isinstance(value, TypedDuration) else value
    is_text = isinstance(typed, str) and typed.strip()[-1:].isalpha()
    return TypedDuration(seconds, typed.strip()) if is_text else seconds


Duration = Annotated[
    float, BeforeValidator(parse_duration, json_schema_input_type=float | str), WrapValidator(_remembering)
]
"""Seconds, or a text such as "30s", "10m" or "1h30m"."""


SmallInt = Annotated[int, Field(le=MOST_COUNT)]  # nodes, ranks, restarts; a field adds its lower bound
LargeInt = Annotated[int, Field(le=MOST_STEPS)]  # steps, samples
Seed = Annotated[int, Field(ge=0, lt=2**63)]  # as torch takes it


def _not_empty(value: Any) -> Any:
    if value == "":
        raise ValueError("is empty; name a directory, or leave it out for the default")
    return value


Directory = Annotated[Path, BeforeValidator(_not_empty)]
"""A directory. An empty text (an unset shell variable) is an error: it does not mean the working directory."""


def _as_typed(value: Any) -> Any:
    if value == "":
        raise ValueError("is empty; name a file")
    return str(value) if isinstance(value, Path) else value


ProgramPath = Annotated[str, BeforeValidator(_as_typed, json_schema_input_type=str)]
"""A program as it was typed: ./run.sh is a file, run.sh without Python is looked for on the PATH."""


_WITH_OPTIONS = re.compile(r"(.*(?:python|pypy)[\w.]*)\s+-.*")


def interpreter_alone(value: Any) -> Any:
    """Raises ValueError for a command line in place of an interpreter: it is one word of the command."""
    text = str(value)
    if not text.strip():
        raise ValueError("is empty; name an interpreter, or leave it out for the default")
    if found := _WITH_OPTIONS.fullmatch(text):
        raise ValueError(f"has options: name the interpreter alone, {found[1].strip()}")
    if "/" not in text and len(text.split()) > 1:
        raise ValueError(
            f"{text!r} is more than an interpreter: name it alone, such as python3 or /opt/venv/bin/python"
        )
    return value


Interpreter = Annotated[Path, BeforeValidator(interpreter_alone)]
"""A Python: its name, its path, or that of its virtual environment."""


def _run_name(name: str) -> str:
    if not re.fullmatch(NAME, name):
        raise ValueError("a name has letters, digits, '-', '_' and '.', at most 63, and starts with a letter or digit")
    if name == "latest":
        raise ValueError("outputs/latest is the link to the newest run; choose another name")
    return name


RunName = Annotated[str, AfterValidator(_run_name)]

TAKEN = frozenset({"trainer", "orchestrator", "inference", "launcher", "launch"})


def _service_name(name: str) -> str:
    if name in TAKEN or re.fullmatch(r"inference-\d+", name):
        raise ValueError(f"{name} is a reserved name; choose another one")
    return _run_name(name)  # it becomes the name of a file


ServiceName = Annotated[str, AfterValidator(_service_name)]
