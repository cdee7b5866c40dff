"""Finds servers that are dying, by what can be checked in a millisecond: port, last answers, log."""

import re
import socket
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from launcher.borders.files import read_end
from launcher.plan.ready import LOG, asked_of
from launcher.plan.spec import ProcessSpec
from launcher.supervisor.rules.suspicion import Suspect
from launcher.supervisor.serving import Watch

CONNECT_WITHIN = 0.2  # seconds; a closed port on this machine refuses at once
READ = 64 * 1024  # bytes of a log's end
_ERROR = re.compile(rb"\b(ERROR|CRITICAL|FATAL)\b|Traceback \(most recent call last\):|\bpanicked at\b")
_SUCCESS = re.compile(rb'HTTP/[\d.]+" 2\d\d\b')  # in an access log
_PORTS = {"http": 80, "https": 443}


class RecentLogs:
    """The sizes of the servers' logs a few seconds ago. A server has survived an error that is older than that."""

    def __init__(self) -> None:
        self._marks: dict[Path, tuple[int, int]] = {}  # sizes at the last two beats; recent lines begin at the first

    def started(self, log: Path) -> None:
        """The server starts: lines of an earlier start are not recent."""
        size = _size(log)
        self._marks[log] = (size, size)

    def beat(self) -> None:
        """Called every few seconds. Lines written since the call before the last one are recent."""
        for log, (_, newer) in self._marks.items():
            self._marks[log] = (newer, _size(log))

    def has_error(self, log: Path) -> bool:
        """Whether the recent lines have an error with no success after it."""
        try:
            text = read_end(log, READ, after=self._marks.get(log, (0, 0))[0])
        except OSError:
            return False
        error = max((found.end() for found in _ERROR.finditer(text)), default=-1)
        return error >= 0 and not _SUCCESS.search(text, error)


def find_suspects(servers: Iterable[tuple[ProcessSpec, Watch | None]], logs: RecentLogs) -> tuple[Suspect, ...]:
    """The live servers that seem to be dying."""
    found = (_by_port(spec, watch) or _by_silence(spec, watch) or _by_log(spec, logs) for spec, watch in servers)
    return tuple(suspect for suspect in found if suspect)


def _by_port(spec: ProcessSpec, watch: Watch | None) -> Suspect | None:
    check = spec.alive.check if spec.alive else spec.ready
    if watch is None or not watch.is_ready or check is None or check.startswith(LOG):
        return None
    address = urlsplit(check)
    port = address.port or _PORTS.get(address.scheme, 0)
    if not _is_closed(address.hostname or "", port):
        return None
    return Suspect(spec.name, f"its port {port} was closed")


def _is_closed(host: str, port: int) -> bool:
    """Whether the port refuses connections. False for a host name, because looking it up may take long."""
    try:
        if host != "localhost":
            ip_address(host)
        socket.create_connection((host, port), timeout=CONNECT_WITHIN).close()
    except ConnectionRefusedError:
        return True
    except (OSError, ValueError):
        return False
    return False


def _by_silence(spec: ProcessSpec, watch: Watch | None) -> Suspect | None:
    """The server has missed an answer. A single miss is not certain: the machine may be busy."""
    pulse = watch.pulse if watch else None
    if pulse is None or pulse.missed == 0:
        return None
    why = f"it had not answered {asked_of(pulse.alive.check)} for {pulse.silence:g}s"
    return Suspect(spec.name, why, is_certain=pulse.missed > 1)


def _by_log(spec: ProcessSpec, logs: RecentLogs) -> Suspect | None:
    return Suspect(spec.name, "its log had an error", is_certain=False) if logs.has_error(spec.log) else None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
