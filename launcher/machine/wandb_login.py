"""Tells whether the user is logged in to W&B, without importing wandb and without the network."""

import configparser
import netrc
import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from launcher.config.wandb import WandbConfig
from launcher.home import in_home

_CLOUD = frozenset({"api.wandb.ai", "api.forge.coreweave.com"})  # two addresses of W&B's own server


def is_logged_in(config: WandbConfig, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether there is a key for the server that `config` names. The key is not sent or tried."""
    if environ.get("WANDB_API_KEY") or environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    settings = _saved_settings(environ)
    server = config.base_url or environ.get("WANDB_BASE_URL") or settings.get("base_url") or f"https://{min(_CLOUD)}"
    host = urlsplit(server).netloc
    return "api_key" in settings or _has_password(
        in_home(environ.get("NETRC") or "~/.netrc"), _CLOUD if host in _CLOUD else frozenset({host})
    )


def _saved_settings(environ: Mapping[str, str]) -> Mapping[str, str]:
    """What `wandb login --host` has saved."""
    directory = in_home(environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb")
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(directory / "settings" if directory else [])
    except (OSError, ValueError, configparser.Error):  # a ValueError: it is not UTF-8
        return {}
    return parser["default"] if parser.has_section("default") else {}


def _has_password(path: Path | None, hosts: frozenset[str]) -> bool:
    if path is None:
        return False
    try:
        logins = netrc.netrc(path)
    except (OSError, ValueError, netrc.NetrcParseError):
        return False
    found = [logins.authenticators(host) for host in hosts]
    return any(login is not None and bool(login[2]) for login in found)
