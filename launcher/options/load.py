"""From TOML files and the command line to one validated configuration; later layers win over earlier ones."""

import io
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from launcher.borders.files import read_bytes, read_named
from launcher.borders.masking import masked_secrets
from launcher.config.base import Section, Switch, merge
from launcher.errors import UserError
from launcher.options.comments import origins_in
from launcher.options.fields import section_type
from launcher.options.layer import Layer, Values
from launcher.options.messages import explain

S = TypeVar("S", bound=Section)

DEEPEST = 50  # nested tables; the configuration has six


def read_file(path: Path, section: str | None = None) -> Layer:
    """The layer of `@ FILE`, or of `--SECTION @ FILE` with the file's keys below that section.

    Raises UserError when the file is missing, unreadable, not TOML, or has lost the secrets of its arguments.
    """
    layer = _layer(path, read_named, section)
    if lost := masked_secrets(layer.values):
        raise UserError(f"{path}: the secret in {lost[0]} is masked", "write the secret there, or a variable in `env`")
    return layer


def read_config_of_run(path: Path) -> Layer:
    """The layer of a run's config.toml. The user did not name it, so it must be a regular file. Raises UserError."""
    layer = _layer(path, read_bytes)
    return replace(layer, origins=origins_in(layer.text))


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
        messages = [explain(model, details, layers) for details in error.errors()]
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
