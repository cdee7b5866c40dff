"""A resolved configuration as TOML, with the origin of each value behind it."""

from collections.abc import Mapping, Sequence
from typing import Any

import tomli_w

from launcher.borders.screen import in_lines
from launcher.options.comments import Keys, annotated, with_header
from launcher.options.origins import Origins, flat

_COLUMN = 44  # where the origins begin
DEFAULT = "default"


def config_text(values: Mapping[str, Any], origins: Mapping[Keys, str], commands: Sequence[str]) -> str:
    """TOML that loads again. `commands` are above it, as comments."""
    text = annotated(tomli_w.dumps(values), lambda path, _: f"  # {origins.get(path, DEFAULT)}", _COLUMN)
    return in_lines(with_header(text, tuple(commands)).split("\n"))


def origins_of(values: Mapping[str, Any], origins: Origins) -> dict[Keys, str]:
    """The origins of all values that somebody has set."""
    found = {path: origins.of(path, value) for path, value in flat(values).items()}
    return {path: origin for path, origin in found.items() if origin}


def only(values: Mapping[str, Any], paths: Mapping[Keys, str], above: Keys = ()) -> dict[str, Any]:
    """The values at these paths."""
    kept: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            if inner := only(value, paths, (*above, name)):
                kept[name] = inner
        elif (*above, name) in paths:
            kept[name] = value
    return kept
