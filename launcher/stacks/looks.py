"""What the processes of one node are doing, as data that goes from node to node. Pure."""

import base64
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pydantic import ConfigDict, TypeAdapter, ValidationError

from launcher.runs.waits import Wait
from launcher.stacks.collectives import Position, Recording
from launcher.stacks.frames import Stack

LARGEST = 1 << 26  # bytes of a look; a node with eight ranks has about one megabyte


@dataclass(frozen=True)
class Look:
    """One look at a node's processes. `trouble` says why there is none."""

    __pydantic_config__ = ConfigDict(defer_build=True, allow_inf_nan=False)
    node: int | None  # None: the run has one node
    stacks: tuple[Stack, ...] = ()
    recordings: tuple[Recording, ...] = ()
    waits: tuple[Wait, ...] = ()
    trouble: str = ""

    def by_clock(self, ahead: float) -> "Look":
        """The same with times of our clock. `ahead` is the seconds by which the look's clock is ahead of it."""
        recordings = tuple(_shifted(recording, -ahead) for recording in self.recordings)
        waits = tuple(replace(wait, since=wait.since - ahead) for wait in self.waits)
        return replace(self, recordings=recordings, waits=waits)


def _shifted(recording: Recording, seconds: float) -> Recording:
    positions = {group: _moved(position, seconds) for group, position in recording.positions.items()}
    return replace(recording, positions=positions)


def _moved(position: Position, seconds: float) -> Position:
    calls = {
        number: replace(call, enqueued=call.enqueued + seconds) if call.enqueued else call
        for number, call in position.calls.items()
    }
    return replace(position, calls=calls)


def all_stacks(looks: Sequence[Look]) -> list[Stack]:
    """The stacks of all nodes, each process with its node."""
    return [
        replace(stack, process=replace(stack.process, node=look.node if len(looks) > 1 else None))
        for look in looks
        for stack in look.stacks
    ]


def all_recordings(looks: Sequence[Look]) -> list[Recording]:
    return [recording for look in looks for recording in look.recordings]


def node_of(looks: Sequence[Look], rank: int) -> int | None:
    """The node of a global rank, if there are several."""
    for look in looks:
        ranks = {recording.rank for recording in look.recordings}
        if rank in ranks | {stack.process.rank for stack in look.stacks}:
            return look.node
    return None


def troubles(looks: Sequence[Look]) -> list[str]:
    """The nodes that have not answered."""
    return [
        look.trouble if look.node is None else f"node {look.node}: {look.trouble}" for look in looks if look.trouble
    ]


# --- as text ----------------------------------------------------------------------------------------------------------

_LOOK = TypeAdapter(Look)


def packed(look: Look) -> str:
    """The look as compressed text. (JSON with escapes: a file's name need not be UTF-8.)"""
    return base64.b64encode(zlib.compress(json.dumps(_LOOK.dump_python(look)).encode())).decode()


def unpacked(text: str) -> Look:
    """Raises ValueError for text that is no look."""
    try:
        unzip = zlib.decompressobj()
        plain = unzip.decompress(base64.b64decode(text, validate=True), LARGEST)
        if unzip.unconsumed_tail:
            raise ValueError(f"longer than {LARGEST} bytes")
        if not unzip.eof:
            raise ValueError("no look: its end is missing")
        return _LOOK.validate_python(json.loads(plain))
    except (zlib.error, ValidationError, RecursionError) as error:
        raise ValueError(f"no look: {error}") from None
