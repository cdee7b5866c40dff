"""A configuration as TOML, for people to read and for launch to load again."""

from collections.abc import Callable
from typing import Any

import tomli_w

from launcher.borders.masking import masked, masked_variables
from launcher.config.base import Section, Switch, set_fields
from launcher.config.wandb import WandbSection
from launcher.config.workload import Handed


def to_toml(section: Section, leave_out: frozenset[str] = frozenset()) -> str:
    """TOML that loads to the same section; values of variables named like secrets are masked."""
    return tomli_w.dumps({name: value for name, value in shown_values(section).items() if name not in leave_out})


def shown_values(section: Section) -> dict[str, Any]:
    """Plain nested values, with the variables named like secrets masked."""
    values = _without_secrets(to_values(section))
    assert isinstance(values, dict)
    return values


def _without_secrets(values: Any) -> Any:
    """`env` holds variables, `notify` URLs. A task's argument named `key` is not a secret, and the task needs it."""
    if not isinstance(values, dict):
        return values
    without: dict[str, Callable[[Any], Any]] = {"env": masked_variables, "notify": masked}
    return {name: without.get(name, _without_secrets)(value) for name, value in values.items()}


def to_values(section: Section) -> dict[str, Any]:
    """Plain nested values. Unset values (None) are left out, and a section that is off is `false`.

    A component's `wandb` has only what was set there; it inherits the rest from the run's.
    """
    values: dict[str, Any] = {}
    unused = section.unused()
    for name, info in type(section).model_fields.items():
        if name in unused:
            continue
        value = getattr(section, name)
        inherits = name == "wandb" and isinstance(section, WandbSection) and not isinstance(section, Handed)
        plain = _plain(set_fields(value)) if inherits else _plain(value)
        if plain is not None and plain != {}:
            values[info.alias or name] = plain
    return values


def _plain(value: Any) -> Any:
    if isinstance(value, Switch) and not value.enabled and not set_fields(value).keys() - {"enabled"}:
        return False
    if isinstance(value, Section):
        return to_values(value)
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, float):
        return getattr(value, "typed", value)  # a duration, as it was typed
    if isinstance(value, tuple):
        return [_plain(inner) for inner in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
