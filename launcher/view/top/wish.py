"""What a screen asks the application for."""

from pathlib import Path
from typing import Literal

from textual.message import Message

What = Literal["open", "logs", "search", "status", "stacks", "attach", "stop", "restart"]


class Wish(Message):
    """Something to do with a run, or with a component or rank of it."""

    def __init__(self, what: What, root: Path, component: str | None = None, rank: int | None = None) -> None:
        super().__init__()
        self.what, self.root, self.component, self.rank = what, root, component, rank


class Ended(Message):
    """There is nothing to stop or to restart any more."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root
