"""The window of W&B's charts, with the real `wandb leet`."""

import subprocess
import sys
from pathlib import Path

import pytest

from launcher.view.tmux.layout import charts
from tests.tmux_server import TmuxServer

RUN = """import wandb
with wandb.init(mode="offline", project="p") as run:
    for step in range(20):
        others = {f"completion/{letter}": step for letter in "abcdefghijklmnop"}
        run.log({"reward/mean": step, "reward/std": 1.0, **others})
"""


@pytest.mark.timeout(300)
def test_the_first_page_shows_the_reward_among_many_charts(tmux: TmuxServer, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", RUN], cwd=tmp_path, check=True, capture_output=True)
    pane = tmux.open_terminal(*charts(tmp_path / "wandb", sys.executable))
    assert "reward/mean" in tmux.wait_for_text(pane, "Metrics [1-1 of 1 filtered")
