"""Where each value of a configuration comes from, as comments in its TOML."""

import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from launcher.borders.screen import in_one_line

Keys = tuple[str, ...]  # the keys of a value in TOML

FROM = "  # from "
MOST_COMMANDS = 20  # in a header
LONGEST = 200  # lines of a list; a longer one gets no comment


@dataclass(frozen=True)
class Asked:
    """What was typed for a run."""

    commands: tuple[str, ...] = ()  # of its first start, and of each resume
    origins: Mapping[Keys, str] = field(default_factory=dict)  # of the values that were set: an option, or file:line


def with_header(text: str, commands: tuple[str, ...]) -> str:
    """The TOML below the commands that were typed, as comments: the first one and the newest."""
    kept = commands if len(commands) <= MOST_COMMANDS else (*commands[:1], *commands[1 - MOST_COMMANDS :])
    header = "".join(f"# {in_one_line(command)}\n" for command in kept)
    return f"{header}\n{text}" if header else text


def commands_in(text: str) -> tuple[str, ...]:
    """The commands in the header that `with_header` has written."""
    commands = []
    for line in text.split("\n"):  # TOML's strings may hold what splitlines() takes for the end of a line
        if not line.startswith("# launch "):
            break
        commands.append(line.removeprefix("# "))
    return tuple(commands)


def annotated(text: str, comment: Callable[[Keys, Any], str | None], column: int = 0) -> str:
    """The TOML of tomli_w with a comment behind each value for which `comment(path, value)` has one.

    The comments begin at `column` or later.
    """
    lines = text.removesuffix("\n").split("\n")
    for end, path, value in _values(lines):
        if (words := comment(path, value)) is not None:
            lines[end] = f"{lines[end]:<{column}}{words}"
    return "\n".join(lines) + "\n"


def origins_in(text: str) -> dict[Keys, str]:
    """The origins that stand as comments in a run's config.toml; comments of other people are none."""
    lines = text.split("\n")
    found = {}
    for end, path, _ in _values(lines):
        value, comment, origin = lines[end].rpartition(FROM)
        if comment and (value == "]" or _parsed(value) is not None):
            found[path] = origin
    return found


def _values(lines: list[str]) -> Iterator[tuple[int, Keys, Any]]:
    """The number of the last line of each value, its path, and the value. A list may have a line for each element."""
    table: Keys = ()
    end = -1
    for start, line in enumerate(lines):
        if start <= end or line[:1] in ("", " ", "#", "]", "}"):
            continue
        parsed = _parsed(line)
        if parsed is None and line.endswith("["):
            end = next((n for n in range(start, min(start + LONGEST, len(lines))) if lines[n].startswith("]")), start)
            parsed = _parsed("\n".join(lines[start : end + 1]))
        if parsed is None:
            continue
        if line.startswith("["):
            table = _path(parsed)
            continue
        path = _path(parsed) if "." in line.partition("=")[0] else (next(iter(parsed)),)
        yield max(start, end), (*table, *path), _at(parsed, path)


def _at(values: Any, path: Keys) -> Any:
    for key in path:
        values = values[key]
    return values


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _path(header: dict[str, Any]) -> Keys:
    """The path of a table's header or of a dotted key, which is nested tables of one key each."""
    path: list[str] = []
    while isinstance(header, dict) and len(header) == 1:
        key, header = next(iter(header.items()))
        path.append(key)
    return tuple(path)
