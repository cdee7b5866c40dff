"""What doctor has found, as a person reads it."""

import re

import pytest

from launcher.doctor.check import Check
from launcher.doctor.text import check_tmux, doctor_text

TORCH = Check("rl, sft", "torch", "fail", "No module named 'torch'", "pip install torch")
LOGIN = Check("W&B", "login", "warn", "not logged in: " + "--wandb logs offline " * 5, "wandb login")
PORT = Check("rl", "port", "ok", "127.0.0.1:1234 is free")


def test_checks_stand_in_their_groups_with_what_mends_them_below() -> None:
    assert doctor_text([LOGIN, TORCH]).splitlines()[:3] == [
        "rl, sft",
        "  fail  torch         No module named 'torch'",
        "                      -> pip install torch",
    ]


def test_nothing_is_wider_than_a_terminal() -> None:
    assert max(map(len, doctor_text([TORCH, LOGIN, PORT]).splitlines())) <= 80


def test_the_last_line_says_whether_a_run_can_start() -> None:
    assert doctor_text([LOGIN, PORT]).endswith("\n\na run can start here\n")
    assert doctor_text([TORCH, PORT]).endswith("\n\na run cannot start here: torch\n")


def test_a_machine_without_tmux_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    [check] = check_tmux()
    assert check.state == "warn"
    assert "apt install tmux" in check.fix


def test_on_a_terminal_each_state_has_its_colour_and_the_text_is_the_same() -> None:
    plain, painted = doctor_text([TORCH, LOGIN, PORT]), doctor_text([TORCH, LOGIN, PORT], colours=True)
    assert "  \x1b[31mfail\x1b[0m  torch" in painted and "\x1b[33mwarn" in painted and "\x1b[32mok" in painted
    assert re.sub(r"\x1b\[\d+m", "", painted) == plain and "\x1b" not in plain


def test_what_a_program_said_cannot_steer_the_terminal() -> None:
    evil = Check("rl", "port", "fail", "\x1b[2Jgone\nfail", "")
    assert "\x1b[2J" not in doctor_text([evil], colours=True)
