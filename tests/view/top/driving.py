"""Drives `launch top` in this process, with textual's own pilot, and reads its screen."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from launcher.view.top.app import TopApp

Play = Callable[["Driver"], Awaitable[None]]
PATIENCE = 120.0  # seconds


class _Lasting(TopApp):
    """Its messages stay long enough to be seen by a test that has to wait for the processor."""

    def notify(self, message: str, **options: Any) -> None:
        super().notify(message, **(options | {"timeout": PATIENCE}))


class Driver:
    """The application in a terminal of a given size."""

    def __init__(self, app: TopApp, pilot: Pilot[Any]) -> None:
        self.app, self.pilot = app, pilot

    @property
    def rows(self) -> list[str]:
        """The screen, row by row, without blanks at the ends."""
        return [strip.text.rstrip() for strip in self.app.screen._compositor.render_strips()]

    @property
    def screen(self) -> str:
        return "\n".join(self.rows)

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)

    async def wait_for(self, *texts: str) -> str:
        """Until the screen has all texts."""
        await self.wait_until(lambda: all(text in self.screen for text in texts), f"no {texts}")
        return self.screen

    async def wait_until(self, is_so: Callable[[], bool], otherwise: str = "it did not come") -> None:
        end = time.monotonic() + PATIENCE
        while not is_so():
            assert time.monotonic() < end, f"{otherwise}: on the screen is:\n{self.screen}"
            await self.pilot.pause(0.05)


def drive(play: Play, size: tuple[int, int] = (80, 24), opened: Path | None = None) -> TopApp:
    """Play in an application of its own; it has to be alive at the end, unless it was left."""

    async def run() -> TopApp:
        app = _Lasting(opened)
        async with app.run_test(size=size, notifications=True) as pilot:
            await play(Driver(app, pilot))
        return app

    return asyncio.run(run())
