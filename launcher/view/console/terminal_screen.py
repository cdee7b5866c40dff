"""The console on a terminal."""

import time
from typing import Any

from rich.console import Console as Terminal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from launcher.numbers import duration, three_digits
from launcher.plan.spec import Plan
from launcher.view.console.screen import Screen
from launcher.view.metric_curves import metric_text


class TerminalScreen(Screen):
    """A terminal: colours, and a line at the bottom with step, metric, rate and time left."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.plan = plan
        self.terminal = Terminal(highlight=False, soft_wrap=True)
        columns = (BarColumn(bar_width=24), MofNCompleteColumn(), TextColumn("{task.description}"))
        self.bar = Progress(*columns, console=self.terminal, auto_refresh=False, transient=True, redirect_stdout=False)
        self.task = self.bar.add_task("", total=plan.progress.max_steps)
        self.first: tuple[int, float] | None = None  # (step, when) since which the rate is taken

    def _write(self, text: str) -> None:
        self.terminal.print(Text.from_ansi(text))  # above the progress line

    def progress(self, step: dict[str, Any]) -> None:
        number, now = int(step["step"]), time.monotonic()
        if self.first is None:
            self.first = (number, now)
            self.bar.start()
        metric = metric_text(self.plan.progress.metric, step)
        words = [metric] if metric else []
        done, seconds = number - self.first[0], now - self.first[1]
        if done > 0 and seconds > 0:
            words.append(f"{three_digits(done / seconds)} steps/s")
            if total := self.plan.progress.max_steps:
                words.append(f"{duration(max(0.0, (total - number) * seconds / done))} left")
        self.bar.update(self.task, completed=number, description="  ".join(words))
        self.bar.refresh()

    def close(self) -> None:
        self.bar.stop()
        super().close()
