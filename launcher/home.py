"""The user's home and name. A user in a container may have neither HOME nor an entry in /etc/passwd."""

import os
import pwd
from pathlib import Path


def in_home(path: str | Path) -> Path | None:
    """The path with its `~` replaced. None if the home is unknown."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return None


def user_name(uid: int | None = None) -> str:
    """A user's name, by default our own. "uid 4711" for a user without a name."""
    uid = os.geteuid() if uid is None else uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
