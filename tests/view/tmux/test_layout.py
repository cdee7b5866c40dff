"""The layout is data: names, titles and commands, for any path."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.view.tmux.layout import COLOURS, Layout, PaneSource, charts, follow, run_layout, session_name

LOGS = Path("/runs/otter/logs/attempt_2")


def layout(ranks: int = 2, metrics: tuple[str, ...] | None = None) -> Layout:
    return run_layout(
        "otter",
        Path("/runs/otter"),
        [PaneSource(name, LOGS / f"{name}.log") for name in ("trainer", "orchestrator", "inference")],
        [follow(PaneSource(f"rank {rank}", LOGS / f"trainer/rank_{rank}.log")) for rank in range(ranks)],
        LOGS / "launcher.log",
        metrics,
    )


def titles(of: Layout) -> dict[str, list[str]]:
    return {window.name: [pane.title for pane in window.panes] for window in of.windows}


def test_each_component_and_each_rank_has_a_pane_with_its_name() -> None:
    assert titles(layout()) == {
        "logs": ["trainer", "orchestrator", "inference"],
        "ranks": ["rank 0", "rank 1"],
        "launcher": ["launcher"],
    }


def test_more_than_eight_ranks_take_further_windows() -> None:
    windows = titles(layout(ranks=17))
    assert [len(windows[name]) for name in ("ranks", "ranks-2", "ranks-3")] == [8, 8, 1]
    assert windows["ranks-2"][0] == "rank 8"


def test_a_run_without_ranks_has_no_window_for_them() -> None:
    assert "ranks" not in titles(layout(ranks=0))


def test_a_program_that_draws_the_metrics_has_a_window_of_its_own() -> None:
    command = ("wandb", "leet", "run", "/runs/otter/wandb")
    assert layout(metrics=command).windows[-1].panes[0].command == command


@pytest.mark.parametrize(("run", "session"), [("otter", "launch-otter"), ("v1.2", "launch-v1_2")])
def test_the_session_is_named_as_tmux_will_store_it(run: str, session: str) -> None:
    assert session_name(run) == session


@pytest.mark.parametrize("name", ["a b", "it's", 'q"q', "new\nline", "$(touch pwned)", "ünï", "#{pane_id}"])
def test_the_file_is_one_argument_and_no_part_of_the_script(name: str) -> None:
    command = follow(PaneSource("trainer", Path("/runs") / name)).command
    assert f"/runs/{name}" in command
    assert name not in command[2]


def coloured(text: bytes) -> bytes:
    sed = ["sed", "-E", "-f", str(COLOURS)]
    return subprocess.run(sed, input=text, capture_output=True, check=True, env={"LC_ALL": "C"}).stdout


STAMP = b"2026-11-23 03:10:02.123"
DIM_TIME = b"\x1b[2m03:10:02\x1b[0m"


@pytest.mark.parametrize("level", [b"INFO   ", b"SUCCESS"])
def test_a_line_of_ours_has_a_dim_time_and_neither_date_nor_level(level: bytes) -> None:
    assert coloured(STAMP + b" | " + level + b" | loss | \xc3\xbc\n") == DIM_TIME + b" loss | \xc3\xbc\n"


@pytest.mark.parametrize(("level", "colour"), [(b"WARNING", b"33"), (b"ERROR", b"1;31"), (b"CRITICAL", b"1;31")])
def test_a_level_that_is_news_keeps_its_word_in_colour(level: bytes, colour: bytes) -> None:
    line = STAMP + b" | " + level.ljust(7) + b" | bad\n"
    assert coloured(line) == DIM_TIME + b" \x1b[%bm%b\x1b[0m bad\n" % (colour, level)


def test_a_debug_line_is_dim() -> None:
    assert coloured(STAMP + b" | DEBUG   | x\n") == DIM_TIME + b" \x1b[2mx\x1b[0m\n"


def test_torchruns_prefix_is_short_and_dim() -> None:
    assert coloured(b"[trainer12]:" + STAMP + b" | INFO    | x\n") == b"\x1b[2mr12\x1b[0m " + DIM_TIME + b" x\n"
    assert coloured(b"[trainer0]:NCCL INFO x\n") == b"\x1b[2mr0\x1b[0m NCCL INFO x\n"
    assert coloured(b"[W1123 03:10:02 socket.cpp:752] x\n") == b"[W1123 03:10:02 socket.cpp:752] x\n"


@pytest.mark.parametrize(
    "step",
    [
        b"step 1500 | loss -0.0899 | entropy 2.83 | grad 0.306 | 12.3 s, waited 0.4 s",
        b"step 150/1500 | reward 0.00632 | solved 25% | lag 1.0 | 12.8 s",
    ],
)
def test_a_line_of_a_step_fits_into_80_columns(step: bytes) -> None:
    prefix = b"" if b"reward" in step else b"[trainer0]:"
    shown = coloured(prefix + STAMP + b" | INFO    | " + step + b"\n").decode().strip()
    text = re.sub("\x1b[^m]*m", "", shown)
    assert "03:10:02 step 150" in text
    assert " | " not in text
    assert len(text) <= 80


def test_a_foreign_line_keeps_its_colours_and_loses_what_else_it_does_to_a_terminal() -> None:
    foreign = b"\x1b]0;title\x07a\x1b[31mred\x1b[0m\x1b[2J\x1b[5;5H\x1b(B\x1b]52;c;eA==\x1b\\b\x07\x08\x1bcd\n"
    assert coloured(foreign) == b"a\x1b[31mred\x1b[0mbd\x1b[0m\n"


def test_a_stripped_character_does_not_hide_the_level() -> None:
    line = b"2026-11-23 03:10:02.123 | WARNING | bell\x07\n"
    assert coloured(line) == DIM_TIME + b" \x1b[33mWARNING\x1b[0m bell\n"


def test_an_exception_of_a_foreign_program_is_red() -> None:
    line = b"[trainer0]:torch.OutOfMemoryError: x\n"
    assert coloured(line) == b"\x1b[2mr0\x1b[0m \x1b[31mtorch.OutOfMemoryError: x\x1b[0m\n"


def test_plain_text_and_bytes_that_are_no_utf8_pass_unchanged() -> None:
    assert coloured(b"loss 0.1 \xff\xfe \r 50%\n") == b"loss 0.1 \xff\xfe \r 50%\n"


def test_a_filter_that_the_user_has_set_in_the_charts_stays(tmp_path: Path) -> None:
    (tmp_path / "charts").mkdir()
    kept = tmp_path / "charts" / ".wandb-leet.json"
    subprocess.run(charts(tmp_path / "charts", "true"), check=True)
    assert "reward" in kept.read_text()
    kept.write_text("mine")
    subprocess.run(charts(tmp_path / "charts", "true"), check=True)
    assert kept.read_text() == "mine"


def test_the_charts_execute_nothing_that_lies_in_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "wandb.py").write_text("open('executed', 'w')")
    (tmp_path / "charts").mkdir()
    isolated = tmp_path / "python"  # without packages, so that there is no other wandb
    isolated.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -S "$@"\n')
    isolated.chmod(0o755)
    done = subprocess.run(charts(tmp_path / "charts", str(isolated)), cwd=tmp_path, capture_output=True, text=True)
    assert "No module named wandb" in done.stderr
    assert not (tmp_path / "executed").exists()
