"""Types of values from outside (files, other nodes). The models that read and write them use these types."""

import math
import os
import re
import signal
from pathlib import Path
from typing import Annotated, Any, TypeGuard

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, StringConstraints

from launcher.borders.screen import in_one_line, printable

MOST_COUNT = 1_000_000
MOST_PORT = 65535
MOST_PROCESSES = 1000  # components of a run on one node
MOST_RANKS = 4096  # of a component on one node
MOST_ATTEMPTS = 1000  # kept in run.json
MOST_STEPS = 10**15  # a float holds each of them exactly
LONGEST_PATH = 4096  # bytes, Linux's own limit
ENDING = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGTERM})  # they end a run
LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"  # never an option of kubectl
NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}"


def _utf8(text: str) -> str:
    """JSON can hold only UTF-8."""
    return text.encode("utf-8", "replace").decode()


def _cut(length: int) -> BeforeValidator:
    """Text from elsewhere is cleaned and shortened, not rejected: the rest of the record is still useful."""
    return BeforeValidator(lambda value: _utf8(printable(value))[:length] if isinstance(value, str) else value)


def _cut_line(length: int) -> BeforeValidator:
    """The same for a text in one line."""
    return BeforeValidator(lambda value: _utf8(in_one_line(value))[:length] if isinstance(value, str) else value)


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("not an absolute path")
    return Path(_utf8(in_one_line(str(path))))


def local_path(path: Path) -> Path:
    """A path that is opened, so it is kept unchanged. Clean it before it is shown."""
    if not path.is_absolute():
        raise ValueError("not an absolute path")
    return openable(path)


def openable(path: Path) -> Path:
    """A path that Linux accepts, absolute or not."""
    if "\0" in str(path) or len(os.fsencode(path)) > LONGEST_PATH:
        raise ValueError("not a path of this machine")
    return path


def _socket(name: str) -> str:
    """A name for `tmux -L`. Without a '/' the socket is always in the user's own directory."""
    if not name or "/" in name or name.startswith(".") or len(name) > 64 or name != printable(name):
        raise ValueError("a socket's name has no '/', does not begin with '.', and is at most 64 long")
    return name


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is a finite number that a float can hold."""
    try:
        return isinstance(value, (int, float)) and math.isfinite(value)
    except OverflowError:  # an int such as 10**400
        return False


def whole_number(text: str, most: int = MOST_COUNT) -> int | None:
    """The text as a number. None if it is not a number, or larger than `most`."""
    number = int(text) if re.fullmatch("[0-9]{1,18}", text) else None
    return number if number is None or number <= most else None


def step_of(record: object) -> int | None:
    """The step of a metrics line. None if the record is not one."""
    step = record.get("step") if isinstance(record, dict) else None
    return step if type(step) is int and 0 <= step <= MOST_STEPS else None


def _ending(number: int) -> int:
    if number not in ENDING:
        raise ValueError("not a signal that ends a run")
    return number


Name = Annotated[str, StringConstraints(pattern=f"^{NAME}$")]
Identity = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{0,64}$")]
Host = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9:._%-]{0,255}$")]
SocketName = Annotated[str, AfterValidator(_socket)]
JobId = Annotated[str, StringConstraints(pattern=r"^[0-9]{0,20}([_+][0-9]{1,10})?$")]  # Slurm's; empty: not known yet
DnsLabel = Annotated[str, StringConstraints(pattern=rf"^({LABEL})?$")]  # of Kubernetes; empty: not known yet
Url = Annotated[str, StringConstraints(pattern=r"^https?://[!-~]{1,2000}$")]
Label = Annotated[str, _cut_line(255)]  # a host, a GPU, a metric
Phrase = Annotated[str, _cut(1000)]
Text = Annotated[str, _cut(64_000)]
AbsolutePath = Annotated[Path, AfterValidator(_absolute)]  # shown
LocalPath = Annotated[Path, AfterValidator(local_path)]  # opened
AnyPath = Annotated[Path, AfterValidator(openable)]  # opened, also relative to a known directory
Port = Annotated[int, Field(ge=0, le=MOST_PORT)]
Count = Annotated[int, Field(ge=0, le=MOST_COUNT)]  # nodes, ranks, attempts
Attempt = Annotated[int, Field(ge=1, le=MOST_COUNT)]
Step = Annotated[int, Field(ge=0, le=MOST_STEPS)]
Seconds = Annotated[float, Field(ge=0, lt=4e9, allow_inf_nan=False)]
Moment = Seconds  # since the epoch, until 2096
ExitCode = Annotated[int, Field(ge=-1024, le=1024)]
EndingSignal = Annotated[int, AfterValidator(_ending)]


def _path_text(value: Any) -> str:
    return str(local_path(Path(value)))


PathText = Annotated[str, PlainValidator(_path_text)]
