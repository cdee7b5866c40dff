"""Waiting until a component can be used."""

import asyncio
import re
import socket
import urllib.request
from collections.abc import Callable
from functools import partial
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from launcher.plan.ready import LOG
from launcher.run.log_tail import LogTail

FIRST_WAIT, LONGEST_WAIT = 0.1, 1.0  # seconds between two tries
ANSWER_WITHIN = 5.0  # seconds

Probe = Callable[[], bool]
"""One try: whether the component can be used now."""

_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open  # a proxy knows nothing of this host's ports


def ready_probe(check: str, log: Path) -> Probe:
    """How to find out whether `check` is met; of the component's log only what is added from now on counts."""
    if check.startswith(LOG):
        return partial(_is_logged, re.compile(check.removeprefix(LOG)), LogTail(log, skip=True))
    return partial(_is_open if check.startswith("tcp://") else _answers, check)


async def until_ready(probe: Probe, timeout: float) -> float | None:
    """Seconds until `probe` was true; None when it has not been within `timeout` seconds."""
    loop = asyncio.get_running_loop()
    start, wait = loop.time(), FIRST_WAIT
    while loop.time() - start < timeout:
        if await asyncio.to_thread(probe):
            return loop.time() - start
        await asyncio.sleep(min(wait, LONGEST_WAIT))
        wait *= 1.5
    return None


def _answers(url: str) -> bool:
    try:
        with _open(url, timeout=ANSWER_WITHIN):
            return True
    except (OSError, HTTPException, ValueError):
        return False


def _is_open(address: str) -> bool:
    parts = urlsplit(address)
    try:
        with socket.create_connection((parts.hostname, parts.port), timeout=ANSWER_WITHIN):
            return True
    except OSError:
        return False


def _is_logged(pattern: re.Pattern[str], log: LogTail) -> bool:
    return any(pattern.search(line) for line in log.new_lines())
