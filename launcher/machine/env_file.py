"""Reads env files, in the format of docker, systemd and dotenv."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.borders.files import read_named
from launcher.errors import UserError

if TYPE_CHECKING:
    from dotenv.parser import Binding


def read_env_file(component: str, path: Path) -> dict[str, str]:
    """The variables of a file with one KEY=VALUE per line. `$NAME` is not expanded. Raises UserError."""
    from dotenv.parser import parse_stream  # 10 ms, and few runs have such a file

    try:
        text = read_named(path).decode()
    except FileNotFoundError:
        raise UserError(f"{component}.env_file {path}: there is no such file") from None
    except UnicodeDecodeError:
        raise UserError(f"{component}.env_file {path}: cannot be read: it is not UTF-8") from None
    except OSError as error:
        raise UserError(f"{component}.env_file {path}: cannot be read: {error.strerror}") from None
    lines = parse_stream(io.StringIO(text, newline=None))
    return dict(_variable(component, path, line) for line in lines if line.key or line.error)


def _variable(component: str, path: Path, line: "Binding") -> tuple[str, str]:
    if line.error or line.key is None or line.value is None:
        where = f"{component}.env_file {path}:{line.original.line}"
        raise UserError(f"{where}: this line sets nothing", "a line is KEY=VALUE, or a # comment")
    return line.key, line.value
