"""Times that have no date."""

from datetime import datetime

import pytest

from launcher.view.clocks import key_of_clock
from launcher.view.logs.lines import clean, clock_of, has_stamp, key_of, level_of, without_stamp


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("line", "clock"),
    [
        (b"23:11:50    INFO Step 3 | 1.2s", b"23:11:50.000"),
        (b"[23:11:50] hello", b"23:11:50.000"),
        (b"23:11:50,123456 | x", b"23:11:50.123"),
        (b"25:11:50 x", None),
        (b"23:11:50x", None),
        (b"took 23:11:50 x", None),
    ],
)
def test_a_line_may_begin_with_a_clock_time_alone(line: bytes, clock: bytes | None) -> None:
    assert clock_of(line) == clock
    assert has_stamp(line, 0) is (clock is not None)
    assert key_of(line, 2026) is None


def test_a_line_of_prime_rl_has_its_clock_its_level_and_its_text() -> None:
    coloured = (
        b"\x1b[2m23:11:50\x1b[0m \x1b[32m\x1b[1mSUCCESS\x1b[0m \x1b[32m\x1b[1m\x1b[22mStep 3 |    1.2s\x1b[0m\x1b[0m\n"
    )
    line = clean(coloured)
    assert clock_of(line) == b"23:11:50.000"
    assert (level_of(line, default=0), without_stamp(line)) == (25, b" SUCCESS Step 3 |    1.2s\n")


@pytest.mark.parametrize(
    ("clock", "last", "begun", "changed", "key"),
    [
        ("23:11:50.000", None, None, "2026-11-26 23:12:00", "2026-11-26 23:11:50.000"),
        ("23:11:50.000", None, None, "2026-11-27 00:12:00", "2026-11-26 23:11:50.000"),
        ("23:11:50.000", None, "2026-11-24 23:11:50.700", "2026-11-27 00:12:00", "2026-11-24 23:11:50.000"),
        ("00:01:00.000", None, "2026-11-24 23:59:00", "2026-11-27 00:12:00", "2026-11-25 00:01:00.000"),
        ("00:01:00.000", "2026-11-24 23:59:00.000", None, "2026-11-27 00:12:00", "2026-11-25 00:01:00.000"),
        ("23:58:00.000", "2026-11-24 23:59:00.000", None, "2026-11-27 00:12:00", "2026-11-24 23:58:00.000"),
        ("23:58:00.000", "2026-99-99 23:59:00.000", None, "2026-11-27 23:59:00", "2026-11-27 23:58:00.000"),
    ],
)
def test_its_day_is_that_of_the_line_before_or_of_the_attempt_or_of_the_file(
    clock: str, last: str | None, begun: str | None, changed: str, key: str
) -> None:
    found = key_of_clock(clock.encode(), (last or "").encode(), at(begun) if begun else None, at(changed))
    assert found.decode() == key
