"""`[notify]`: messages about a run, to where people are."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from launcher.borders.masking import MASK
from launcher.config.base import Switch

WEBHOOK, APPRISE = "LAUNCH_NOTIFY_WEBHOOK", "LAUNCH_NOTIFY_APPRISE"  # variables that hold the secrets
Happening = Literal["failed", "stalled", "finished", "first-step", "recovered"]


def check_web(url: str) -> str:
    """The URL. Raises ValueError, which does not repeat it: it is a secret."""
    try:
        has_host = bool(urlsplit(url).hostname)
    except ValueError:
        has_host = False
    if url != MASK and not (has_host and url.startswith(("https://", "http://"))):
        raise ValueError("not a URL that begins with https:// or http://")
    return url


class NotifyConfig(Switch):
    enabled: bool = Field(False, description="send a message when something happens to the run")
    on: tuple[Happening, ...] = Field(
        ("failed", "stalled", "finished", "first-step", "recovered"), description="what to send a message about"
    )
    webhook: Annotated[str, AfterValidator(check_web)] | None = Field(
        None,
        description="webhook of Slack, Discord or your own server, which gets JSON; safer in LAUNCH_NOTIFY_WEBHOOK",
    )
    desktop: bool = Field(False, description="show it on the desktop, with notify-send")
    apprise: str | None = Field(
        None, description="URLs for apprise, which knows many other services; safer in LAUNCH_NOTIFY_APPRISE"
    )
