"""Files of variables."""

from pathlib import Path

import pytest

from launcher.errors import UserError
from launcher.machine.env_file import read_env_file


def test_values_are_taken_as_dotenv_files_have_them(tmp_path: Path) -> None:
    file = tmp_path / "a b.env"
    file.write_text("# comment\nA=1\nexport B='two words'\nC=$HOME\nD=\n")
    assert read_env_file("trainer", file) == {"A": "1", "B": "two words", "C": "$HOME", "D": ""}


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"trainer.env_file .*nowhere.env: there is no such file"):
        read_env_file("trainer", tmp_path / "nowhere.env")


@pytest.mark.parametrize("text", ["A\n", "A=1\nwhat is this\n"])
def test_a_line_that_is_no_assignment_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.env").write_text(text)
    with pytest.raises(UserError, match=r"x.env:\d: this line sets nothing"):
        read_env_file("trainer", tmp_path / "x.env")


@pytest.mark.parametrize("content", [b"A=1\nhunter2\n", b"hunter2 \xff\n", b"'hunter2\n"])
def test_what_a_broken_file_holds_is_not_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.env").write_bytes(content)
    with pytest.raises(UserError) as raised:
        read_env_file("trainer", tmp_path / "x.env")
    assert "hunter2" not in str(raised.value) and "xff" not in str(raised.value)


def test_a_file_without_an_end_is_refused() -> None:
    with pytest.raises(UserError, match="/dev/zero: cannot be read: is longer than"):
        read_env_file("trainer", Path("/dev/zero"))
