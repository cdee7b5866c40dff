"""Waiting until a server can be used."""

import asyncio
import urllib.error
import urllib.request

FIRST_WAIT, LONGEST_WAIT = 0.1, 1.0  # seconds between two tries
ANSWER_WITHIN = 5.0  # seconds

_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open  # a proxy knows nothing of this host's ports


async def until_ready(url: str, timeout: float) -> float | None:
    """Seconds until `url` answered with a 2xx status; None when it has not within `timeout` seconds."""
    loop = asyncio.get_running_loop()
    start, wait = loop.time(), FIRST_WAIT
    while loop.time() - start < timeout:
        if await asyncio.to_thread(_answers, url):
            return loop.time() - start
        await asyncio.sleep(min(wait, LONGEST_WAIT))
        wait *= 1.5
    return None


def _answers(url: str) -> bool:
    try:
        with _open(url, timeout=ANSWER_WITHIN):
            return True
    except (OSError, urllib.error.URLError, ValueError):
        return False
