"""The user's home, which not every user has: in a container there may be neither HOME nor an entry in /etc/passwd."""

import os
import pwd
from pathlib import Path


def in_home(path: str | Path) -> Path | None:
    """The path with its `~` replaced; None where nobody knows what that is."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return None


def user_name(uid: int | None = None) -> str:
    """A user's name, by default one's own; "uid 4711" for one who has none."""
    uid = os.geteuid() if uid is None else uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
