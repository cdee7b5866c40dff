"""The help text of a configuration's options. It is made without rich: it starts fast, and no flag is cut off."""

import textwrap
from collections.abc import Iterable
from typing import Any

from launcher.config.base import Section
from launcher.options.fields import ConfigField, Form, config_fields
from launcher.options.flags import negative, option_names

WIDTH = 78  # columns


def options_help(model: type[Section], more: Iterable[Any] = ()) -> str:
    """Every option with its help below it: first the common ones, then by section. `more` are Typer's parameters."""
    lines = ["", "Options:"]
    for parameter in more:
        lines += _entry(", ".join([*parameter.opts, *parameter.secondary_opts]), parameter.help or "")
    lines += _entry("--help, -h", "show this and exit")
    for section, fields in by_section(config_fields(model)).items():
        lines += ["", f"[{section}]"] if section else []
        for field in fields:
            lines += _entry(usage(field), field.help + _default(field))
    return "\n".join(lines) + "\n"


def by_section(fields: Iterable[ConfigField]) -> dict[str, list[ConfigField]]:
    """The fields by the dotted name of their section. Those with a short name are at the top level, ""."""
    sections: dict[str, list[ConfigField]] = {"": []}
    for field in fields:
        path = field.path[:-1] if field.path[-1] == "enabled" else field.path
        often = len(option_names(field)) > 1
        sections.setdefault("" if often else ".".join(path[:-1]), []).append(field)
    return sections


def usage(field: ConfigField) -> str:
    """The option's names and its value, such as `--nproc, --trainer.nproc INTEGER`."""
    names = option_names(field)
    if field.shape is Form.FLAG:
        return ", ".join(f"--{name} / --{negative(name)}" for name in names)
    return ", ".join(f"--{name}" for name in names) + f" {field.metavar}"


def _default(field: ConfigField) -> str:
    text = default_text(field)
    return f" [{text}]" if text else ""


def default_text(field: ConfigField) -> str:
    """The default as a person would write it; empty if there is none, or if it is inherited from the run."""
    if field.default in (None, (), {}) or field.inherited:
        return ""
    if field.shape is Form.FLAG:
        return "on" if field.default else "off"
    if field.shape is Form.MANY:
        return ",".join(str(part) for part in field.default)
    return f"{field.default:g}s" if field.metavar == "DURATION" else str(field.default)


def _entry(names: str, text: str) -> list[str]:
    spellings = textwrap.wrap(
        names, WIDTH, initial_indent="  ", subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
    return spellings + textwrap.wrap(text, WIDTH, initial_indent="      ", subsequent_indent="      ")
