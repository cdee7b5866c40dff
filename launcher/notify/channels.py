"""Where messages go: a webhook, the desktop, or whatever apprise knows. No error names a URL, which is a secret."""

import json
import os
import subprocess
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from launcher.borders.masking import MASK
from launcher.borders.screen import in_one_line
from launcher.config.notify import APPRISE, WEBHOOK, NotifyConfig, check_web
from launcher.errors import UserError

SECONDS = 5.0  # that a server or program may take to answer
LONGEST = 1500  # characters of a message; Discord takes 2000


class NotSent(Exception):
    """Why a message did not arrive."""


@dataclass(frozen=True)
class Message:
    run: str
    happening: str
    title: str
    text: str


@dataclass(frozen=True)
class Channel:
    name: str  # as shown to people
    send: Callable[[Message], None]  # raises NotSent


def channels(config: NotifyConfig, variables: Mapping[str, str] = os.environ) -> list[Channel]:
    """Everything that the configuration and the environment name; nothing if `notify` is off."""
    return list(_channels(config, variables)) if config.enabled else []


def _channels(config: NotifyConfig, variables: Mapping[str, str]) -> Iterator[Channel]:
    if webhook := _secret(config.webhook, variables.get(WEBHOOK)):
        yield Channel(f"the webhook at {in_one_line(urlsplit(webhook).hostname or '?')}", partial(_post, webhook))
    if config.desktop:
        yield Channel("the desktop", _show)
    if urls := _secret(config.apprise, variables.get(APPRISE)):
        yield Channel("apprise", partial(_apprise, urls))


def _secret(value: str | None, variable: str | None) -> str | None:
    """The value. If it is missing or masked, as in a run's config.toml, the variable."""
    return variable if value in (None, MASK) else value


def check_channels(config: NotifyConfig, variables: Mapping[str, str] = os.environ) -> Iterator[str]:
    """What people should know before the run starts. Raises UserError if something that was asked for is missing."""
    if not config.enabled:
        return
    for name, value, variable in ("webhook", config.webhook, WEBHOOK), ("apprise", config.apprise, APPRISE):
        if value == MASK and not variables.get(variable):
            yield f"notify.{name} is masked in the file and not used: set it with export {variable}=..."
    if config.webhook in (None, MASK) and (url := variables.get(WEBHOOK)):
        try:
            check_web(url)
        except ValueError as error:
            raise UserError(f"the variable {WEBHOOK}: {error}") from None
    if _secret(config.apprise, variables.get(APPRISE)) and not find_spec("apprise"):
        raise UserError("notify.apprise needs the package apprise", "pip install apprise")
    if not channels(config, variables):
        yield f"notify is on, but nothing says where to: export {WEBHOOK}=https://..."


# --- each of them -----------------------------------------------------------------------------------------------------


def _post(url: str, message: Message) -> None:
    body = json.dumps(body_for(url, message)).encode()
    try:
        request = urllib.request.Request(url, body, {"Content-Type": "application/json", "User-Agent": "launch"})
        with urllib.request.urlopen(request, timeout=SECONDS):
            pass
    except HTTPError as error:
        error.close()
        raise NotSent(f"it answered {error.code}") from None
    except (OSError, ValueError) as error:
        raise NotSent(_reason(error)) from None
    except Exception as error:  # such as HTTPException, for an answer that is none
        raise NotSent(type(error).__name__) from None


def _reason(error: Exception) -> str:
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, TimeoutError):
        return f"no answer within {SECONDS:g}s"
    return (reason.strerror if isinstance(reason, OSError) else None) or type(reason).__name__


def body_for(url: str, message: Message) -> dict[str, object]:
    """What Slack, Discord, or any other server gets."""
    host, text = urlsplit(url).hostname or "", f"{message.title}\n{message.text}"[:LONGEST]
    if f".{host}".endswith((".discord.com", ".discordapp.com")):
        return {"content": text, "allowed_mentions": {"parse": []}}  # a text must not call everybody
    if f".{host}".endswith((".slack.com", ".slack-gov.com")):
        return {"text": text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")}
    return {"text": text, "run": message.run, "event": message.happening}


def _show(message: Message) -> None:
    try:
        subprocess.run(
            ["notify-send", "--app-name=launch", "--", message.title, message.text[:LONGEST]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise NotSent("notify-send is not installed") from None
    except (OSError, subprocess.SubprocessError) as error:
        raise NotSent(_reason(error) if isinstance(error, OSError) else type(error).__name__) from None


def _apprise(urls: str, message: Message) -> None:
    try:
        from apprise import Apprise  # takes a second

        sender = Apprise()
        is_known = sender.add(urls)
        is_sent = is_known and sender.notify(title=message.title, body=message.text[:LONGEST])
    except Exception as error:
        raise NotSent(type(error).__name__) from None
    if not is_sent:
        raise NotSent("a service did not take it" if is_known else "there is a URL that it does not know")
