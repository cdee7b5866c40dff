"""`--services.NAME.FIELD`: a service on the command line. NAME is free, so Typer cannot know these options."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from launcher.config.component import ServiceConfig
from launcher.errors import UserError
from launcher.options.fields import ConfigField, Form, config_fields
from launcher.options.flags import command_words, pair
from launcher.options.layer import Values

_BEGINNINGS = ("--services.", "--no-services.")


def takes_value(word: str) -> bool:
    """Whether the word is such an option and the next word is its value."""
    return word.startswith(_BEGINNINGS[0]) and "=" not in word and _field(word)[1].shape is not Form.FLAG


def take_services(words: Sequence[str]) -> tuple[list[str], Values]:
    """(the other words, the services by name). Raises UserError for an unknown field or a missing value."""
    rest, others, services = list(words), list[str](), dict[str, Values]()
    while rest:
        word = rest.pop(0)
        if not word.startswith(_BEGINNINGS):
            others.append(word)
            continue
        option, equals, text = word.partition("=")
        name, field = _field(option)
        service = services.setdefault(name, {})
        if field.shape is Form.FLAG and equals:
            raise UserError(f"{option} takes no value", f"write --{_positive(option)} or --no-{_positive(option)}")
        if field.shape is Form.FLAG:
            service[field.path[-1]] = not option.startswith(_BEGINNINGS[1])
            continue
        if not equals and not rest:
            raise UserError(f"{option} needs a value")
        key = field.path[-1]
        service[key] = _added(option, field, service.get(key), text if equals else rest.pop(0))
    return others, services


def _positive(option: str) -> str:
    return option.removeprefix("--").removeprefix("no-")


def _field(option: str) -> tuple[str, ConfigField]:
    dotted = _positive(option.partition("=")[0])
    name, _, last = dotted.removeprefix("services.").rpartition(".")
    fields = {field.option: field for field in config_fields(ServiceConfig)}
    found = fields.get(last.replace("_", "-"))
    if not name:
        raise UserError(f"{option}: which service?", 'name it, as in: --services.redis.command "redis-server"')
    if found is None or (option.startswith(_BEGINNINGS[1]) and found.shape is not Form.FLAG):
        close = get_close_matches(last.replace("_", "-"), fields, n=2)
        meant = " or ".join(f"--services.{name}.{each}" for each in close)
        raise UserError(
            f"there is no option {option}", f"did you mean {meant}?" if close else f"a service has {', '.join(fields)}"
        )
    return name, found


def _added(option: str, field: ConfigField, before: Any, text: str) -> Any:
    """The field's value with `text` added; a command is split as a shell would."""
    if field.option == "command":
        return command_words(option, text)
    if field.shape is Form.MANY:
        return [*(before or ()), text]
    if field.shape is Form.PAIRS:
        return dict([*(before or {}).items(), pair(option, text)])
    return text
