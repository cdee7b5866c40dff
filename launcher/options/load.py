"""From TOML files and the command line to one validated configuration; later layers win over earlier ones."""

import io
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from launcher.borders.files import read_bytes, read_named
from launcher.config.base import Section, Switch, merge
from launcher.errors import UserError
from launcher.options.fields import section_type
from launcher.options.flags import flag_of

S = TypeVar("S", bound=Section)
Values = dict[str, Any]

DEEPEST = 50  # nested tables; the configuration has six


@dataclass(frozen=True)
class Layer:
    """Nested values and where they come from: a file, or the command line (None)."""

    values: Values
    file: Path | None = None
    section: tuple[str, ...] = ()  # the section that the file was read into
    text: str = field(default="", repr=False)  # of the file; kept, since a pipe can be read only once


def read_file(path: Path, section: str | None = None) -> Layer:
    """The layer of `@ FILE`, or of `--SECTION @ FILE` with the file's keys below that section.

    Raises UserError when the file is missing, unreadable or not TOML.
    """
    return _layer(path, read_named, section)


def read_config_of_run(path: Path) -> Layer:
    """The layer of a run's config.toml. The user did not name it, so it must be a regular file. Raises UserError."""
    return _layer(path, read_bytes)


def _layer(path: Path, read: Callable[[Path], bytes], section: str | None = None) -> Layer:
    try:
        text = io.StringIO(read(path).decode(errors="surrogateescape"), newline=None).read()
        values = tomllib.loads(text)
        _check_depth(values)
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file", _similar_files(path)) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except RecursionError:
        raise UserError(f"{path}: not valid TOML: nested too deeply") from None
    except ValueError as error:  # tomllib's own, or a number with too many digits
        raise UserError(f"{path}: not valid TOML: {error}") from None
    below = tuple(section.replace("-", "_").split(".")) if section else ()
    for key in reversed(below):
        values = {key: values}
    return Layer(values, path, below, text)


def _check_depth(values: Values) -> None:
    tables = [values]
    for _ in range(DEEPEST):
        tables = [value for table in tables for value in table.values() if isinstance(value, dict)]
        if not tables:
            return
    raise ValueError("nested too deeply")


def _similar_files(path: Path) -> str | None:
    there = sorted(other.name for other in path.parent.glob("*.toml")) if path.parent.is_dir() else []
    close = get_close_matches(path.name, there, n=3) or there[:6]
    return f"in {path.parent} there is: {', '.join(close)}" if close else None


def load(model: type[S], layers: Sequence[Layer]) -> S:
    """The validated configuration from all layers. Raises UserError, which names the file and line, or the option."""
    values: Values = {}
    for layer in layers:
        values = merge(values, switch_sections(model, layer.values))
    try:
        return model.model_validate(values)
    except ValidationError as error:
        messages = [_explain(model, details, layers) for details in error.errors()]
        raise UserError("\n".join(dict.fromkeys(messages))) from None


def switch_sections(model: type[Section], values: Values) -> Values:
    """Set `enabled` in each section with a switch.

    `wandb = false` means `wandb.enabled = false`. Any value in the section other than false switches it on, unless
    `enabled` is set too.
    """
    result = {key.replace("-", "_"): value for key, value in values.items()}
    for name, info in model.model_fields.items():
        key, section = info.alias or name, section_type(info)
        if section is None or key not in result:
            continue
        value = result[key]
        if issubclass(section, Switch) and isinstance(value, bool):
            value = {"enabled": value}
        if isinstance(value, dict):
            if issubclass(section, Switch) and _is_wanted(value):
                value = {"enabled": True, **value}
            result[key] = switch_sections(section, value)
    return result


def _is_wanted(value: Any) -> bool:
    if isinstance(value, dict):
        return not value or any(_is_wanted(inner) for inner in value.values())
    return value is not False


# --- messages ---------------------------------------------------------------------------------------------------------


def _explain(model: type[Section], details: ErrorDetails, layers: Sequence[Layer]) -> str:
    path = tuple(part for part in details["loc"] if part != "[key]")  # pydantic's word for a free name
    written = _written(path, layers)
    if details["type"] == "extra_forbidden":
        return f"{_place(path, written)}: there is no such field{_nearest(model, path)}{_hint(written)}"
    text = details["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if details["type"] == "missing":
        return f"{_dotted(path)} is missing"
    if written is None:
        return text
    shown = "" if isinstance(details["input"], (dict, Section)) else f" = {details['input']!r}"
    if written.file is None:
        typed = f" {details['input']}" if shown else ""
        return f"{flag_of(path)}{typed}: {text}"
    return f"{_place(path, written)}{shown}: {text}"


def _place(path: tuple[str | int, ...], layer: Layer | None) -> str:
    if layer is None or layer.file is None:
        return flag_of(path)
    return f"{layer.file}:{_line(layer.text, path[len(layer.section) :])}: {_dotted(path)}"


def _hint(layer: Layer | None) -> str:
    if layer is None or not layer.section:
        return ""
    option = flag_of(layer.section)
    return f"\n  {option} @ FILE reads a file into that section; for one of the whole run, write @ FILE before {option}"


def _dotted(path: tuple[str | int, ...]) -> str:
    return ".".join(str(part) for part in path)


def _written(path: tuple[str | int, ...], layers: Sequence[Layer]) -> Layer | None:
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
    section: type[Section] | None = model
    for part in path[:-1]:
        info = section.model_fields.get(str(part)) if section else None
        section = section_type(info) if info else None
    if section is None:
        return ""
    names = [info.alias or name for name, info in section.model_fields.items()]
    close = get_close_matches(str(path[-1]), names, n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(close)}?" if close else f"; there are {', '.join(names)}"


def _line(text: str, path: tuple[str | int, ...]) -> int:
    """The line of `path` in the file. tomllib does not tell it, so look for the key below its table."""
    wanted = [str(part) for part in path if not isinstance(part, int)]
    table: list[str] = []
    best = (0, 1)  # (how much of the path was found, on which line)
    for number, line in enumerate(text.splitlines(), start=1):
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
