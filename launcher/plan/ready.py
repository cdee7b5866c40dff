"""The checks that tell when a component is ready.

`http(s)://…` answers, `tcp://HOST:PORT` is open, or `log:REGEX` matches a line of its log.
"""

import re
from urllib.parse import urlsplit

from launcher.errors import UserError

LOG = "log:"
OFF = "off"


def check_ready(where: str, check: str) -> str:
    """`check` itself. Raises UserError if it can never succeed."""
    trouble = _log_trouble(check.removeprefix(LOG)) if check.startswith(LOG) else _address_trouble(check)
    if trouble:
        hint = "allowed: http://HOST:PORT/PATH, https://…, tcp://HOST:PORT, or log:REGEX for a line of its log"
        raise UserError(f"{where}.ready = {check!r}: {trouble}", hint)
    return check


def check_alive(where: str, check: str | None, ready: str | None) -> str | None:
    """The check that a server still serves: `check`, or else its readiness check. None if neither can be repeated.

    Raises UserError if the check can never succeed.
    """
    if check is None:
        return None if ready is None or ready.startswith(LOG) else ready
    if check == OFF:
        return None
    if trouble := "a log line cannot be asked again" if check.startswith(LOG) else _address_trouble(check):
        hint = "allowed: http://HOST:PORT/PATH, https://…, tcp://HOST:PORT, or off"
        raise UserError(f"{where}.alive = {check!r}: {trouble}", hint)
    return check


def _log_trouble(pattern: str) -> str | None:
    try:
        re.compile(pattern)
    except re.error as error:
        return f"not a regular expression: {error}"
    return None if pattern else "the regular expression is empty"


def _address_trouble(check: str) -> str | None:
    try:
        address = urlsplit(check)
        port = address.port
    except ValueError as error:
        return f"can never succeed: {error}"
    if address.scheme not in ("http", "https", "tcp"):
        return "not a known kind of check"
    if not address.hostname:
        return "can never succeed: it names no host"
    needs_port = address.scheme == "tcp" and port is None
    return "can never succeed: nobody listens on that port" if needs_port or port == 0 else None


def ready_when(check: str) -> str:
    """The check in words, for users."""
    return f"its log has {check.removeprefix(LOG)}" if check.startswith(LOG) else f"{check} answers"


def asked_of(check: str) -> str:
    """The check in short: the path of its URL."""
    path = urlsplit(check).path
    return check if path in ("", "/") else path


def silent_because(check: str, seconds: float, answer: str) -> str:
    """What has failed for these seconds, for users. `answer` is the outcome of the last try."""
    asked = asked_of(check)
    if answer.startswith("answered"):
        return f"no good answer from {asked} for {seconds:g}s: it {answer}"
    if answer.startswith("did not answer"):
        return f"no answer from {asked} for {seconds:g}s"
    return f"no answer from {asked} for {seconds:g}s: it {answer}"


def not_ready_because(check: str, answer: str) -> str:
    """Why the check fails, for users. `answer` is the outcome of the last try, such as "refused the connection"."""
    if check.startswith(LOG):
        return f"no line of its log has {check.removeprefix(LOG)}"
    return f"{check} {answer}"
