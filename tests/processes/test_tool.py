"""A program that is asked may be missing, fail or hang."""

import pytest

from launcher.processes.tool import call


def test_what_it_prints_and_its_exit_code_come_back_whatever_bytes_they_are() -> None:
    done = call(["sh", "-c", "printf 'a\\377'; echo no >&2; exit 3"], 60)
    assert done is not None
    assert (done.stdout, done.stderr, done.returncode) == ("a\ufffd", "no\n", 3)


def test_it_gets_no_input() -> None:
    done = call(["cat"], 60)
    assert done is not None and done.stdout == ""


@pytest.mark.parametrize("argv", [["no-such-program"], ["sleep", "60"]])
def test_one_that_is_missing_or_too_slow_gives_no_answer(argv: list[str]) -> None:
    assert call(argv, 0.2) is None
