"""What may come from outside, from files and from other nodes: types for the models that read it, and write it too."""

import signal
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from launcher.screen import in_one_line as in_one_line
from launcher.screen import printable as printable

ENDING = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGTERM})
NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}"


def _cut(length: int) -> BeforeValidator:
    """Text from elsewhere is cleaned and shortened; it is no reason to lose the rest of what was said."""
    return BeforeValidator(lambda value: _utf8(printable(value))[:length] if isinstance(value, str) else value)


def _utf8(text: str) -> str:
    """JSON has no place for a byte that is not UTF-8."""
    return text.encode("utf-8", "replace").decode()


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("not an absolute path")
    return Path(_utf8(in_one_line(str(path))))


def _ending(number: int) -> int:
    if number not in ENDING:
        raise ValueError("not a signal that ends a run")
    return number


Name = Annotated[str, StringConstraints(pattern=f"^{NAME}$")]
Identity = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{0,64}$")]
Host = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9:._%-]{0,255}$")]
Phrase = Annotated[str, _cut(1000)]
Text = Annotated[str, _cut(64_000)]
AbsolutePath = Annotated[Path, AfterValidator(_absolute)]  # to be shown
Port = Annotated[int, Field(ge=0, le=65535)]
Count = Annotated[int, Field(ge=0, le=1_000_000)]  # nodes, ranks, attempts
Seconds = Annotated[float, Field(ge=0, lt=4e9, allow_inf_nan=False)]  # also since the epoch, until 2096
ExitCode = Annotated[int, Field(ge=-1024, le=1024)]
EndingSignal = Annotated[int, AfterValidator(_ending)]
