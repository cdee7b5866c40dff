"""Asks a component whether it is usable."""

import asyncio
import errno
import os
import re
import socket
import threading
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from launcher.borders.log_tail import LogTail
from launcher.plan.ready import LOG

FIRST_WAIT, LONGEST_WAIT = 0.1, 1.0  # seconds between two tries
ANSWER_WITHIN = 5.0  # seconds
OWN_TROUBLE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL)

Probe = Callable[[], str | None]
"""One try. Returns None if the component is usable now, else its answer, such as "answered 404 Not Found".

Raises OSError when launch itself lacks something that it needs to ask, such as file descriptors: see OWN_TROUBLE.
"""

_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open  # a proxy cannot reach this host's ports


def ready_probe(check: str, log: Path = Path(os.devnull), within: float = ANSWER_WITHIN) -> Probe:
    """A probe for `check`. Each try takes at most `within` seconds.

    In the component's log, only lines added from now on count.
    """
    if check.startswith(LOG):
        return partial(_find_in_log, re.compile(check.removeprefix(LOG)), LogTail(log, skip=True))
    return partial(_ask, _connect if check.startswith("tcp://") else _get, check, within)


async def until_ready(probe: Probe, timeout: float) -> float | str:
    """Seconds until the component was usable, or the answer to the last try when `timeout` seconds are over."""
    loop = asyncio.get_running_loop()
    start, wait, answer = loop.time(), FIRST_WAIT, "was not asked"
    while loop.time() - start < timeout:
        try:
            found = await in_thread(probe)
        except OSError as error:
            found = f"could not be asked: {error}"
        if found is None:
            return loop.time() - start
        answer = found
        await asyncio.sleep(min(wait, LONGEST_WAIT))
        wait *= 1.5
    return answer


async def in_thread(probe: Probe) -> str | None:
    """The probe's answer. The thread is a daemon, so that a probe without an answer cannot delay launch's exit."""
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[str | None] = loop.create_future()

    def settle(answer: str | None, error: Exception | None) -> None:
        if answered.done():
            return
        if error:
            answered.set_exception(error)
        else:
            answered.set_result(answer)

    def work() -> None:
        answer, error = None, None
        try:
            answer = probe()
        except Exception as raised:
            error = raised
        with suppress(RuntimeError):  # the loop has been closed
            loop.call_soon_threadsafe(settle, answer, error)

    try:
        threading.Thread(target=work, name="probe", daemon=True).start()
    except RuntimeError as error:  # no more threads for this user
        raise OSError(errno.ENOMEM, str(error)) from error
    return await answered


def _ask(ask: Callable[[str, float], None], address: str, within: float) -> str | None:
    try:
        ask(address, within)
    except (OSError, HTTPException, ValueError) as error:
        return _what_came(error, within)
    return None


def _get(url: str, within: float) -> None:
    with _open(url, timeout=within):
        pass


def _connect(address: str, within: float) -> None:
    parts = urlsplit(address)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=within):
        pass


def _what_came(error: Exception, within: float) -> str:
    """The error in words that follow the address: "http://… refused the connection"."""
    if isinstance(error, HTTPError):
        known = error.code in HTTPStatus._value2member_map_
        return f"answered {error.code}" + (f" {HTTPStatus(error.code).phrase}" if known else "")
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, OSError) and reason.errno in OWN_TROUBLE:
        raise reason
    if isinstance(reason, TimeoutError):
        return f"did not answer within {within:g}s"
    if isinstance(reason, ConnectionRefusedError):
        return "refused the connection"
    if isinstance(reason, ConnectionError):
        return "closed the connection without an answer"
    problem = "gave no HTTP answer" if isinstance(reason, HTTPException) else "could not be reached"
    return f"{problem}: {reason}"


def _find_in_log(pattern: re.Pattern[str], log: LogTail) -> str | None:
    return None if any(pattern.search(line) for line in log.new_lines()) else "has no such line"
