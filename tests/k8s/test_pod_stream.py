"""Which lines of `kubectl logs` are new, when a stream gives some of them again."""

from launcher.k8s.pod_stream import Seen

A = b"2026-11-27T10:00:01.000000001Z a\n"
B = b"2026-11-27T10:00:02.500000000Z b\n"
EARLIER = b"2026-11-27T10:00:02.499999999Z of stderr\n"
C = b"2026-11-27T10:00:03.000000000Z c\n"


def read(seen: Seen, *pieces: bytes) -> bytes:
    return b"".join(seen.new_text(piece) for piece in pieces)


def test_the_next_stream_begins_a_second_before_the_newest_line() -> None:
    """The API server takes whole seconds."""
    seen = Seen()
    assert seen.since() is None
    assert read(seen, A, B) == b"a\nb\n"
    assert seen.since() == "2026-11-27T10:00:01Z"


def test_a_line_of_a_node_in_another_time_zone_counts_at_its_moment() -> None:
    seen = Seen()
    assert read(seen, B.replace(b"T10", b"T12").replace(b"Z", b"+02:00")) == b"b\n"
    assert seen.since() == "2026-11-27T10:00:01Z"


def test_lines_that_come_again_are_dropped_as_often_as_they_were_read() -> None:
    seen = Seen()
    assert read(seen, A, B, B) == b"a\nb\nb\n"
    seen.since()
    assert read(seen, A, B, B, B, C) == b"b\nc\n"
    seen.since()
    assert read(seen, B, B, B, C, C) == b"c\n"


def test_a_line_that_was_written_later_with_an_earlier_time_is_not_lost() -> None:
    seen = Seen()
    assert read(seen, A, B) == b"a\nb\n"
    seen.since()
    assert read(seen, A, B, EARLIER) == b"of stderr\n"


def test_lines_that_the_node_has_rotated_away_hide_none_that_follow() -> None:
    seen = Seen()
    assert read(seen, A, B) == b"a\nb\n"
    seen.since()
    assert read(seen, C) == b"c\n"


def test_lines_without_a_time_are_passed_on() -> None:
    """As when the kubelet itself says something there."""
    seen = Seen()
    assert read(seen, b"failed to create fsnotify watcher\n", A) == b"failed to create fsnotify watcher\na\n"
    assert read(seen, b"9999999-99 x\n", b"2026-13-45T99:00:00Z y\n") == b"9999999-99 x\ny\n"
