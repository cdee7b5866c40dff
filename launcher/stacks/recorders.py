"""Reads the flight recorders of a run's ranks: from the ranks themselves, or from torch's dumps for NCCL."""

import http.client
import io
import json
import os
import pickle
import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from launcher.borders.files import open_pipe, open_regular
from launcher.instrumentation.recorder import private_directory
from launcher.plan.spec import Plan, Ranks
from launcher.rundir import RunDir
from launcher.runs.liveness import is_alive_here
from launcher.runs.state import RankState, RunState
from launcher.stacks.collectives import Recording, recording_of

ANSWER_SECONDS = 2.0  # it takes milliseconds
DUMP_SECONDS = 3.0  # for torch to write a dump on request
LARGEST = 1 << 26  # bytes of a dump; 2000 entries take a megabyte
AT_ONCE = 16
NONE = "the program has no flight recorder: it does not call launcher.setup_logger() under torchrun"
SILENT = "its flight recorder does not answer"
FOREIGN = "its flight recorder was written by another user"
UNREADABLE = "its flight recorder's answer is not valid"


def read_recorders(
    run: RunDir, state: RunState, seconds: float = ANSWER_SECONDS, dumps: bool = True
) -> list[Recording]:
    """The collectives that each rank of this node has enqueued. Empty if the run has fewer than two ranks.

    Without `dumps`, NCCL's ranks are not asked to write theirs to a file.
    """
    ranks = [rank for process in state.processes for rank in process.ranks]
    if len(ranks) * state.nodes < 2:
        return []
    asked = _ask_for_dumps(run, ranks) if dumps else 0.0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda rank: _read(run, state, rank, asked, seconds), ranks))


def written_records(plan: Plan) -> list[Recording]:
    """The dumps that torch wrote for this node's ranks when NCCL timed out. Empty if there are none."""
    ranks = [each for spec in plan.processes if spec.ranks for each in _numbers(spec.ranks)]
    return [record for rank in ranks if (record := read_record(plan.run.flight_record(rank), rank)) is not None]


def _numbers(ranks: Ranks) -> range:
    return range(ranks.first, ranks.first + ranks.count)


def _read(run: RunDir, state: RunState, rank: RankState, asked: float, seconds: float) -> Recording:
    if rank.process is None or not is_alive_here(state, rank.process):
        return read_record(run.flight_record(rank.rank), rank.rank) or Recording(rank.rank, trouble="it is not running")
    answered = _ask(run, rank.process.pid, rank.rank, seconds)
    if answered.trouble == NONE and asked:
        return _await_record(run.flight_record(rank.rank), rank.rank, asked) or answered
    return answered


# --- from the rank itself ---------------------------------------------------------------------------------------------


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket in an open directory. The socket's full path may be too long for an address."""

    def __init__(self, directory: int, name: str, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path, self._seconds = f"/proc/self/fd/{directory}/{name}", seconds

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self._seconds)
        self.sock.connect(self._path)


def _ask(run: RunDir, pid: int, rank: int, seconds: float) -> Recording:
    if not run.sockets.is_dir():
        return Recording(rank, trouble=NONE)
    try:
        with private_directory(run.sockets) as directory:
            connection = _Connection(directory, str(pid), seconds)
            connection.request("POST", "/handler/fr_trace_json?includestacktraces=false")
            answer = connection.getresponse()
            text = answer.read(LARGEST)
            connection.close()
    except FileNotFoundError:
        return Recording(rank, trouble=NONE)
    except PermissionError as error:
        return Recording(rank, trouble=str(error))
    except (OSError, http.client.HTTPException):
        return Recording(rank, trouble=SILENT)
    if answer.status == http.client.NOT_FOUND:
        return Recording(rank, trouble="its torch is too old for this")
    return _recording(rank, text)


def _recording(rank: int, text: bytes) -> Recording:
    try:
        return recording_of(rank, json.loads(text))
    except (ValueError, RecursionError):
        return Recording(rank, trouble=UNREADABLE)


# --- from torch's dumps -----------------------------------------------------------------------------------------------


class _PlainData(pickle.Unpickler):
    """Loads numbers, strings, lists, tuples and dictionaries. Refuses everything that would call a function."""

    def find_class(self, module_name: str, global_name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"{module_name}.{global_name} is not plain data")


def load_plain(data: bytes) -> Any:
    """The plain data in a pickle. Raises ValueError if there is anything else in it, or if it is not a pickle."""
    try:
        return _PlainData(io.BytesIO(data)).load()
    except Exception as error:  # a malicious pickle may raise anything
        raise ValueError(f"no pickle of plain data: {error}") from error


def read_record(path: Path, rank: int, not_before: float = 0.0) -> Recording | None:
    """One rank's dump; None if none was written since `not_before` (seconds since the epoch)."""
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            status = os.fstat(file.fileno())
            data = file.read(LARGEST + 1)
    except OSError:
        return None
    if status.st_mtime < not_before or not data:
        return None
    if status.st_uid != os.geteuid():  # ten bytes of a pickle can take all memory, and root may read others' runs
        return Recording(rank, trouble=FOREIGN)
    if len(data) > LARGEST:
        return Recording(rank, trouble=UNREADABLE)
    try:
        return recording_of(rank, load_plain(data))
    except (ValueError, RecursionError):
        return Recording(rank, trouble=UNREADABLE)


def _ask_for_dumps(run: RunDir, ranks: Sequence[RankState]) -> float:
    """Ask every rank that has a pipe, as NCCL's ranks do, for a dump. Returns the time; 0 if no rank has one."""
    asked = 0.0
    for rank in ranks:
        with suppress(OSError):  # no pipe, or no process reads it
            pipe = open_pipe(Path(f"{run.flight_record(rank.rank)}.pipe"))
            try:
                asked = asked or time.time()
                os.write(pipe, b"1\n")
            finally:
                os.close(pipe)
    return asked


def _await_record(path: Path, rank: int, asked: float) -> Recording | None:
    """Wait for the dump that a rank was asked for, until it is complete."""
    deadline = time.monotonic() + DUMP_SECONDS
    while True:
        record = read_record(path, rank, not_before=asked - 1)  # file systems round times
        if (record and not record.trouble) or time.monotonic() > deadline:
            return record
        time.sleep(0.05)
