"""The help text of a configuration's options. It is made without rich: it starts fast, and no flag is cut off."""

import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from launcher.config.base import Section
from launcher.errors import UserError
from launcher.options.fields import ConfigField, Form, config_fields, free_fields
from launcher.options.flags import SHORT, negatives, option_names

WIDTH = 78  # columns


@dataclass(frozen=True)
class Brief:
    """What the short help shows: what people type, on one screen. Options that the model lacks are passed over."""

    examples: Mapping[str, str]  # what to type -> what it does
    options: Mapping[str, str]  # an option with its value, "nproc N" -> what it does


def brief_help(brief: Brief, model: type[Section], path: str, more: Iterable[Any] = ()) -> str:
    """The short help of the command `path`, such as "launch rl"; it ends with where the rest is."""
    fields = list(config_fields(model))
    there = {name for field in fields for name in (*option_names(field), *negatives(option_names(field)))}
    there |= {name.removeprefix("--") for parameter in more for name in parameter.opts}
    options = {f"--{words}": text for words, text in brief.options.items() if words.split()[0] in there}
    width = max(map(len, (*brief.examples, *options)))
    lines = ["", "Examples:", *_rows(brief.examples, width), "", "Options:", *_rows(options, width)]
    sections = [section for section in by_section(fields) if section and "." not in section]
    lines += ["", f"All {len(fields)} options: {path} --help-all", f"One section: {path} --help {sections[-1]}"]
    named = textwrap.wrap(f"Sections: {', '.join(sections)}", WIDTH, subsequent_indent=" " * len("Sections: "))
    return "\n".join([*lines, *named]) + "\n"


def _rows(texts: Mapping[str, str], width: int) -> list[str]:
    return [f"  {words:<{width}}  {text}" for words, text in texts.items()]


def section_help(model: type[Section], section: str) -> str:
    """The options of one section and of those inside it. Raises UserError if there is no such section."""
    wanted = section.strip("[]-").replace("_", "-")
    fields = [field for field in every_field(model) if field.option == wanted or field.option.startswith(f"{wanted}.")]
    if not fields:
        names = sorted({field.option.split(".")[0] for field in config_fields(model) if "." in field.option})
        raise UserError(f"there is no section {section}", f"the sections are {', '.join(names)}")
    return "\n".join([f"[{wanted}]", *(line for field in fields for line in _of_field(field))]) + "\n"


def options_help(model: type[Section], more: Iterable[Any] = ()) -> str:
    """Every option with its help below it: first the common ones, then by section. `more` are Typer's parameters."""
    lines = ["", "Options:"]
    for parameter in more:
        lines += _entry(", ".join([*parameter.opts, *parameter.secondary_opts]), parameter.help or "")
    lines += _entry("--help, -h [SECTION]", "show this, or the options of one section, and exit")
    for section, fields in by_section(every_field(model)).items():
        lines += ["", f"[{section}]"] if section else []
        for field in fields:
            lines += _of_field(field)
    return "\n".join(lines) + "\n"


def every_field(model: type[Section]) -> tuple[ConfigField, ...]:
    """The fields of the model, and those of its tables with free names."""
    return (*config_fields(model), *free_fields(model))


def _of_field(field: ConfigField) -> list[str]:
    return _entry(usage(field), field.help + _default(field))


def by_section(fields: Iterable[ConfigField]) -> dict[str, list[ConfigField]]:
    """The fields by the dotted name of their section. Those that are typed often are at the top level, ""."""
    sections: dict[str, list[ConfigField]] = {"": []}
    for field in fields:
        path = field.path[:-1] if field.path[-1] == "enabled" else field.path
        sections.setdefault("" if field.option in SHORT else ".".join(path[:-1]), []).append(field)
    return sections


def usage(field: ConfigField) -> str:
    """The option's names and its value, such as `--nproc, --trainer.nproc INTEGER`."""
    names = option_names(field)
    if field.shape is Form.FLAG and (opposite := negatives(names)):
        return ", ".join(f"--{name} / --{no}" for name, no in zip(names, opposite, strict=True))
    if field.shape is Form.FLAG:
        return ", ".join(f"--{name}" for name in names)
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
