"""What is said of a configuration that is wrong: where it was written, what is allowed, and what was probably meant."""

import json
import shlex
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from pydantic_core import ErrorDetails

from launcher.borders.masking import masked_value
from launcher.config.base import Section, Switch
from launcher.options.fields import section_type
from launcher.options.flags import flag_of
from launcher.options.layer import Layer

_KINDS = {"int": "a whole number", "float": "a number", "finite": "a finite number", "bool": "true or false"}
_KINDS |= {"string": "text, in quotes", "path": "a path, in quotes"}


def explain(model: type[Section], details: ErrorDetails, layers: Sequence[Layer]) -> str:
    """One error of pydantic's in our words."""
    path = tuple(part for part in details["loc"] if part != "[key]")  # pydantic's word for a free name
    written = writer_of(path, layers)
    if details["type"] == "extra_forbidden":
        return f"{_place(path, written)}: there is no such field{_nearest(model, path)}{_hint(written)}"
    if details["type"] == "missing":
        return f"{_dotted(path)} is missing"
    text = _reason(model, path, details)
    if written is None:
        return f"{_file_and_line(text, layers)}{text}"
    given = _without_secret(path, details["input"])
    shown = "" if isinstance(given, (dict, Section)) else f" = {given!r}"
    if written.file is None:
        typed = f" {given}" if shown and given not in ("", [], [""]) else ""
        return f"{flag_of(path)}{typed}: {text}"
    return f"{_place(path, written)}{shown}: {text}"


def _without_secret(path: tuple[str | int, ...], value: Any) -> Any:
    return masked_value(_dotted(path), value) if isinstance(value, str) else value


def _reason(model: type[Section], path: tuple[str | int, ...], details: ErrorDetails) -> str:
    kind = details["type"].split("_")[0]
    if kind in ("tuple", "list", "set"):
        return f"must be a list, such as [{_elements(path, details['input'])}]"
    if kind in ("dict", "model", "dataclass"):
        section = _section(model, path)
        switch = "true, false or " if section and issubclass(section, Switch) else ""
        return f"must be {switch}a table: [{_dotted(path)}], and its fields below that line"
    if details["type"] not in ("string_too_long", "string_too_short") and kind in _KINDS:
        return f"must be {_KINDS[kind]}"
    message = details["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    return message.replace("String should have at least 1 character", "must not be empty")


def _elements(path: tuple[str | int, ...], value: Any) -> str:
    """A list that was probably meant; of a command, a word each."""
    try:
        words = shlex.split(value) if path[-1:] == ("command",) and isinstance(value, str) else [value]
    except ValueError:
        words = [value]
    return ", ".join(map(_in_toml, words or [value]))


def _in_toml(value: Any) -> str:
    """The value as an element of a list; JSON writes texts and numbers as TOML does."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (str, int, float)) else '"…"'


def _place(path: tuple[str | int, ...], layer: Layer | None) -> str:
    if layer is None or layer.file is None:
        return flag_of(path)
    return f"{_line(path, layer)}: {_dotted(path)}"


def _file_and_line(text: str, layers: Sequence[Layer]) -> str:
    """Where a file sets the field that begins a message about the whole configuration; else nothing."""
    path = tuple(text.partition(" ")[0].split("."))
    layer = writer_of(path, layers)
    return "" if layer is None or layer.file is None else f"{_line(path, layer)}: "


def _line(path: tuple[str | int, ...], layer: Layer) -> str:
    return f"{layer.file}:{line_of(layer.text, path[len(layer.section) :])}"


def _hint(layer: Layer | None) -> str:
    if layer is None or not layer.section:
        return ""
    option = flag_of(layer.section)
    return f"\n  {option} @ FILE reads a file into that section; for one of the whole run, write @ FILE before {option}"


def _dotted(path: tuple[str | int, ...]) -> str:
    return ".".join(str(part) for part in path)


def writer_of(path: tuple[str | int, ...], layers: Sequence[Layer]) -> Layer | None:
    """The last layer that sets the value at `path`, or the table that it is missing from."""
    for layer in reversed(layers):
        value: Any = layer.values
        for part in path:
            value = _inside(value, part)
        if value is not None and path:
            return layer
    return None


def _inside(value: Any, part: str | int) -> Any:
    if isinstance(value, dict):
        return value.get(part, value.get(str(part).replace("_", "-")))
    return value if isinstance(part, int) or isinstance(value, (str, bool)) else None


def _nearest(model: type[Section], path: tuple[str | int, ...]) -> str:
    section = _section(model, path[:-1])
    if section is None:
        return ""
    names = [info.alias or name for name, info in section.model_fields.items()]
    close = get_close_matches(str(path[-1]), names, n=3)
    return f"; did you mean {' or '.join(close)}?" if close else f"; there are {', '.join(names)}"


def _section(model: type[Section], path: Sequence[str | int]) -> type[Section] | None:
    """The section at `path`, if there is one."""
    section: type[Section] | None = model
    for part in path:
        fields = {info.alias or name: info for name, info in section.model_fields.items()} if section else {}
        section = section_type(fields[str(part)]) if str(part) in fields else None
    return section


def line_of(text: str, path: tuple[str | int, ...]) -> int:
    """The line of `path` in the file. tomllib does not tell it, so look for the key below its table."""
    wanted = [str(part) for part in path if not isinstance(part, int)]
    table: list[str] = []
    best = (0, 1)  # (how much of the path was found, on which line)
    for number, line in enumerate(text.split("\n"), start=1):
        stripped = line.strip()
        if stripped.startswith("["):
            table = _keys(stripped.strip("[] "))
            here = table
        elif "=" in stripped and not stripped.startswith("#"):
            here = table + _keys(stripped.split("=", 1)[0])
        else:
            continue
        common = next(
            (i for i, (a, b) in enumerate(zip(here, wanted, strict=False)) if a != b), min(len(here), len(wanted))
        )
        if common == len(here) or common == len(wanted):
            best = max(best, (common, number), key=lambda found: found[0])
    return best[1]


def _keys(text: str) -> list[str]:
    return [part.strip().strip("\"'").replace("-", "_") for part in text.split(".")]
