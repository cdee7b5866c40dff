"""Lines without date and level, as the console shows them."""

import re
import subprocess

import pytest

from launcher.view.console.short_lines import ShortLine, short_line
from launcher.view.tmux.layout import COLOURS

STAMP = "2026-11-23 03:10:02.123"


@pytest.mark.parametrize(
    ("line", "short"),
    [
        (f"{STAMP} | INFO    | loss | x", ShortLine("03:10:02", "", "INFO", "loss | x")),
        (f"[trainer0]:{STAMP} | SUCCESS | x", ShortLine("03:10:02", "trainer0", "SUCCESS", "x")),
        (f"[ranks 0-7]:{STAMP} | WARNING | bad", ShortLine("03:10:02", "ranks 0-7", "WARNING", "bad")),
        (
            f"{STAMP} | INFO    | step 1/9 | loss 2 | grad 1",
            ShortLine("03:10:02", "", "INFO", "step 1/9  loss 2  grad 1"),
        ),
        ("[trainer12]:NCCL INFO x", ShortLine("", "trainer12", "", "[trainer12]:NCCL INFO x")),
        ("[W1123 03:10:02 socket.cpp:752] x", ShortLine("", "", "", "[W1123 03:10:02 socket.cpp:752] x")),
        ("", ShortLine("", "", "", "")),
    ],
)
def test_time_and_component_and_level_are_read_and_the_rest_is_text(line: str, short: ShortLine) -> None:
    assert short_line(line) == short


@pytest.mark.parametrize(
    "line",
    [
        f"{STAMP} | INFO    | ready | x",
        f"{STAMP} | DEBUG   | x",
        f"{STAMP} | WARNING | bad",
        f"{STAMP} | ERROR   | worse",
        f"{STAMP} | INFO    | step 150/1500 | reward 0.00632 | solved 25% | lag 1.0 | 12.8 s",
        "2026-11-23 03:10:02,123 | free text",
        "no time at all",
    ],
)
def test_a_pane_shows_the_same_words(line: str) -> None:
    sed = subprocess.run(
        ["sed", "-E", "-f", str(COLOURS)],
        input=f"{line}\n".encode(),
        capture_output=True,
        check=True,
        env={"LC_ALL": "C"},
    )
    short = short_line(line)
    words = [short.clock, short.level if short.is_news else "", short.text]
    shown = re.sub("\x1b[^m]*m", "", sed.stdout.decode()).rstrip("\n")
    shown = re.sub(r"^([\d:]{8}) \| ", r"\1 ", shown).replace("  ", " ")  # a pane has dim names instead
    assert shown == " ".join(filter(None, words)).replace("  ", " ")
