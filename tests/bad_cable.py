"""A cable between two network namespaces that delays packets and loses some: two TAP devices, with a thread between.

`tc netem` would do the same where the kernel has it.
"""

import fcntl
import heapq
import os
import random
import select
import struct
import threading
import time
from contextlib import suppress

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000  # linux/if_tun.h
MOST = 1 << 16  # bytes of a frame


class BadCable:
    """Raises OSError where there are no TAP devices. The devices go away with `close`."""

    def __init__(self, names: tuple[str, str], delay: float, loss: float) -> None:
        self.delay, self.loss, self.lost = delay, loss, 0
        self._ends = [_tap(name) for name in names]
        self._wake, self._closed = os.pipe()
        self._thread = threading.Thread(target=self._carry, args=(random.Random(0),), daemon=True)
        self._thread.start()

    def _carry(self, chance: random.Random) -> None:
        """Frames arrive `delay` seconds later, by up to a quarter sooner or later, so that some overtake others."""
        waiting: list[tuple[float, int, bytes]] = []
        while True:
            left = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
            ready, _, _ = select.select([*self._ends, self._wake], [], [], left)
            if self._wake in ready:
                return
            for end in ready:
                frame = os.read(end, MOST)
                if chance.random() < self.loss:
                    self.lost += 1
                    continue
                due = time.monotonic() + self.delay * chance.uniform(0.75, 1.25)
                heapq.heappush(waiting, (due, self._ends[1 - self._ends.index(end)], frame))
            while waiting and waiting[0][0] <= time.monotonic():
                _, end, frame = heapq.heappop(waiting)
                with suppress(OSError):  # that end is not up yet
                    os.write(end, frame)

    def close(self) -> None:
        os.close(self._closed)
        self._thread.join()
        for descriptor in (*self._ends, self._wake):
            os.close(descriptor)


def _tap(name: str) -> int:
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TAP | IFF_NO_PI))
    return descriptor
