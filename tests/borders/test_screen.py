"""Text on its way to a screen."""

import os
import subprocess

import pytest

from launcher.borders.screen import clean_bytes, in_lines, in_one_line, is_clean, printable, quoted
from launcher.view.tmux.layout import COLOURS

C0 = [chr(code) for code in range(0x20) if chr(code) not in "\t\n"]
C1 = [chr(code) for code in range(0x7F, 0xA0)]
DIRECTION = list("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
HARMLESS = "loss 0.1\tünï 漢字 🦦 “…” ─┤█ \u200b\xa0\n"


@pytest.mark.parametrize("char", [*C0, *C1, *DIRECTION], ids=lambda char: f"{ord(char):04x}")
def test_no_control_character_is_left(char: str) -> None:
    assert printable(f"a{char}") == "a"
    assert clean_bytes(f"a{char}".encode()) == b"a"
    assert not is_clean(f"a{char}".encode())


@pytest.mark.parametrize(
    "sequence",
    [
        "\x1b[31m",
        "\x1b[38;5;1m",
        "\x1b[2J",
        "\x1b[?1049h",
        "\x1b]0;title\x07",
        "\x1b]8;;http://x\x1b\\",
        "\x1b]52;c;eA==\x07",
        "\x1bPq#0\x1b\\",
        "\x1b(B",
        "\x1bc",
        "\x1b7",
    ],
)
def test_a_sequence_for_a_terminal_goes_as_a_whole(sequence: str) -> None:
    assert printable(f"a{sequence}b") == "ab"
    assert clean_bytes(f"a{sequence}b".encode()) == b"ab"


def test_what_is_removed_makes_no_new_sequence() -> None:
    assert "\x1b" not in printable("\x1b\x1b[\x1b[31mm\x1b\x07]0;x\x07")


def test_all_other_text_passes() -> None:
    assert printable(HARMLESS) == HARMLESS
    assert is_clean(HARMLESS.encode())


def test_a_byte_that_is_not_utf_8_passes_unless_it_is_a_control() -> None:
    assert printable(os.fsdecode(b"a\xff\x9b31m")) == os.fsdecode(b"a\xff31m")
    assert clean_bytes(b"a\xff\x9b31m \xc3\x9b") == b"a\xff31m \xc3\x9b"


def test_what_is_to_be_one_line_stays_one() -> None:
    assert in_one_line("a\nb\tc\r") == "a\\nb c"
    assert in_lines(["a\nb", "c\td"]) == "a\\nb\nc\td"


@pytest.mark.parametrize("char", [*C1, *DIRECTION, "\x1b]0;x\x07", "\x1b[2J", "\x07", "\x1b(B", "\x1bc"])
def test_a_pane_shows_what_a_screen_may_show(char: str) -> None:
    text = f"a{char}b {HARMLESS}"
    sed = ["sed", "-E", "-f", str(COLOURS)]
    done = subprocess.run(sed, input=text.encode(), capture_output=True, check=True, env={"LC_ALL": "C"})
    assert done.stdout.replace(b"\x1b[0m", b"").decode() == printable(text)


@pytest.mark.parametrize("nested", [b"\xc2\xc2\x8f\x9b31m", b"\xe2\x80\xd8\x9c\xae", b"\xc2\xe2\x81\xa6\x9b"])
def test_what_a_pane_removes_makes_no_new_control(nested: bytes) -> None:
    sed = ["sed", "-E", "-f", str(COLOURS)]
    shown = subprocess.run(sed, input=nested, capture_output=True, check=True, env={"LC_ALL": "C"}).stdout
    assert printable(shown.decode(errors="replace")) == shown.decode(errors="replace")


@pytest.mark.parametrize(
    "word", ["plain", "a b", "it's", "", "a\nb\n", "\x1b[2J9", "\u202e'\\", "\udcff\x01", "-n", "$x"]
)
def test_a_quoted_word_is_one_line_and_the_same_word_to_a_shell(word: str) -> None:
    assert in_one_line(quoted(word)) == quoted(word)
    typed = [b"bash", b"-c", os.fsencode(f"printf %s {quoted(word)}")]
    assert subprocess.run(typed, capture_output=True, check=True).stdout == os.fsencode(word)
