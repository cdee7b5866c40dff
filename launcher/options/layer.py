"""Values that a file or the command line sets, not yet validated."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Values = dict[str, Any]


@dataclass(frozen=True)
class Layer:
    """Nested values and where they come from: a file, or the command line (None)."""

    values: Values
    file: Path | None = None
    section: tuple[str, ...] = ()  # the section that the file was read into
    text: str = field(default="", repr=False)  # of the file; kept, since a pipe can be read only once
    origins: Mapping[tuple[str, ...], str] | None = None  # of its values, if it is a run's config.toml
