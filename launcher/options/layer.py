"""Values that a file or the command line sets, not yet validated."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

Values = dict[str, Any]

_PROGRAM = ("module", "script", "command")  # a trainer has one of them
_OF_PROGRAM = frozenset({*_PROGRAM, "args", "resume_args", "resume-args"})


@dataclass(frozen=True)
class Layer:
    """Nested values and where they come from: a file, or the command line (None)."""

    values: Values
    file: Path | None = None
    section: tuple[str, ...] = ()  # the section that the file was read into
    text: str = field(default="", repr=False)  # of the file; kept, since a pipe can be read only once
    origins: Mapping[tuple[str, ...], str] | None = None  # of its values, if it is a run's config.toml


def without_another(files: Sequence[Layer], program: str) -> Iterator[Layer]:
    """The files for a program that was typed: if they name another one, without that and without its arguments."""
    trainers = [trainer if isinstance(trainer := layer.values.get("trainer"), dict) else {} for layer in files]
    another = any(trainer.get(name, program) != program for trainer in trainers for name in _PROGRAM)
    for layer, trainer in zip(files, trainers, strict=True):
        kept = {name: value for name, value in trainer.items() if name not in _OF_PROGRAM}
        yield replace(layer, values=layer.values | {"trainer": kept}) if another and trainer else layer
