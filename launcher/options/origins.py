"""Where each value of a configuration was set: an option, or a line of a file."""

from collections.abc import Mapping, Sequence
from typing import Any

from launcher.borders.masking import masked_words
from launcher.borders.screen import in_one_line, quoted
from launcher.config.base import Section
from launcher.config.toml import to_values
from launcher.options.comments import Asked, Keys, commands_in
from launcher.options.fields import config_fields
from launcher.options.flags import flag_of, negative
from launcher.options.layer import Layer
from launcher.options.load import switch_sections
from launcher.options.messages import line_of, writer_of

_NODES = ("slurm", "nodes")  # given to trainer.torchrun.nnodes, which owns the number


class Origins:
    """Of the values that `layers` set; the last layer wins."""

    def __init__(self, model: type[Section], layers: Sequence[Layer]) -> None:
        self._options = {field.path for field in config_fields(model)}
        self._defaults = flat(to_values(model()))
        self._layers = [
            Layer(switch_sections(model, one.values), one.file, one.section, one.text, one.origins) for one in layers
        ]

    def changed(self, config: Section) -> dict[Keys, str]:
        """The origins of the values that are not the defaults, by path."""
        values = flat(to_values(config)).items()
        found = {path: self.of(path, value) for path, value in values if value != self._defaults.get(path)}
        return {path: origin for path, origin in found.items() if origin}

    def of(self, path: Keys, value: Any) -> str | None:
        """The origin of the value at a path of TOML; None for a default that nobody has set."""
        sought = (*path, "enabled") if (*path, "enabled") in self._options else path
        layer = writer_of(sought, self._layers)
        if layer is None:
            given = path == ("trainer", "torchrun", "nnodes") and writer_of(_NODES, self._layers)
            return self.of(_NODES, value) if given else None
        if layer.file is None:
            return self._option(sought, value)
        if layer.origins is not None and path in layer.origins:
            return layer.origins[path]
        if layer.origins is not None and value == self._defaults.get(path):
            return None
        return in_one_line(f"{layer.file}:{line_of(layer.text, sought[len(layer.section) :])}")

    def _option(self, path: Keys, value: Any) -> str:
        known = next((path[:end] for end in range(len(path), 0, -1) if path[:end] in self._options), path)
        flag = flag_of(known)
        return f"--{negative(flag.removeprefix('--'))}" if value is False else flag


def flat(values: Mapping[str, Any], above: Keys = ()) -> dict[Keys, Any]:
    """Nested values by their paths."""
    found: dict[Keys, Any] = {}
    for name, value in values.items():
        found |= flat(value, (*above, name)) if isinstance(value, dict) else {(*above, name): value}
    return found


def asked(config: Section, layers: Sequence[Layer], argv: Sequence[str]) -> Asked:
    """What was typed, for the run's config.toml. `argv` are the words of the command line; secrets are masked."""
    before = tuple(command for layer in layers if layer.origins is not None for command in commands_in(layer.text))
    command = " ".join(["launch", *map(quoted, masked_words(argv[1:]))])
    return Asked((*before, command), Origins(type(config), layers).changed(config))
