"""What a terminal shows last: the failure, whatever its size."""

import pytest

from launcher.view.last_words import PROMPT, SHORTEST, emphasised, fitted
from tests.colours import without_colours

CAUSE = ["  ValueError: no such thing", *(f"  frame {number}" for number in range(24))]
SUMMARY = ["run otter failed after 3s", "  trainer      ended by launch (SIGKILL)", ""]


def block(*cause: str) -> str:
    return "\n".join(["FAILED  trainer rank 1: exit code 1", "", *cause, "", "  log         x.log", "", *SUMMARY])


def test_what_fits_is_shown_whole() -> None:
    assert fitted(block(*CAUSE), 80, 40) == block(*CAUSE)
    assert fitted("\n".join(SUMMARY), 80, 1) == "\n".join(SUMMARY)


def test_on_a_small_terminal_the_block_keeps_its_head_and_the_innermost_frames() -> None:
    lines = fitted(block(*CAUSE), 80, 24 + PROMPT).split("\n")
    assert len(lines) == 24
    assert lines[:3] == ["FAILED  trainer rank 1: exit code 1", "", CAUSE[0]]
    assert "  ... 10 more lines" in lines
    assert "  frame 23" in lines
    assert lines[-len(SUMMARY) :] == SUMMARY


def test_lines_that_wrap_count_as_the_rows_that_they_take() -> None:
    wide = [CAUSE[0], *(f"  {'x' * 150}{number}" for number in range(20))]
    lines = fitted(block(*wide), 80, 24).split("\n")
    assert sum(-(-len(line) // 80) or 1 for line in lines) <= 24
    assert "  ... " in "\n".join(lines)


def test_the_lowest_terminal_gets_a_few_lines_all_the_same() -> None:
    assert sum("frame" in line for line in fitted(block(*CAUSE), 80, 5).split("\n")) == SHORTEST - 1


def test_the_exception_is_bold_and_the_code_behind_an_ending_by_launch_dim() -> None:
    text = emphasised(block(*CAUSE), colours=True)
    assert "\x1b[1;31mFAILED  trainer rank 1: exit code 1\x1b[0m\n" in text
    assert "\x1b[1m  ValueError: no such thing\x1b[0m\n" in text
    assert "ended by launch\x1b[2m (SIGKILL)\x1b[0m\n" in text
    assert without_colours(text) == block(*CAUSE)


@pytest.mark.parametrize("text", ["", "FAILED  x", "FAILED  x\n", "FAILED  x\n\n", block()])
def test_whatever_the_text_its_words_stay_the_same(text: str) -> None:
    assert emphasised(text, colours=False) == text
    assert without_colours(emphasised(fitted(text, 80, 3), colours=True)) == text
