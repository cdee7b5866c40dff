"""Times without a date, `23:11:50`, as prime-rl and others log them. The day comes from the log's own time."""

from datetime import date, datetime, timedelta

HALF_A_DAY = timedelta(hours=12)
_DAY = timedelta(days=1)


def key_of_clock(clock: bytes, last: bytes, begun: float | None, changed: float) -> bytes:
    """The key of a clock time such as `23:11:50.000`.

    `last` is the key before it in the same log, if there is one. For a log's first line, the day comes from the start
    of the attempt, or else from the log's last change. Both are in seconds since the epoch.
    """
    before = _moment(last) if last else None
    if before is not None:
        found = _on(before.date(), clock)
        return _key(found + _DAY if before - found > HALF_A_DAY else found)  # midnight has passed
    end = datetime.fromtimestamp(changed + 1)
    if begun is not None:
        start = datetime.fromtimestamp(begun - 1)
        found = _on(start.date(), clock)
        return _key(found + _DAY if found < start and found + _DAY <= end else found)
    found = _on(end.date(), clock)
    return _key(found - _DAY if found > end else found)


def _on(day: date, clock: bytes) -> datetime:
    return datetime.combine(day, datetime.strptime(clock.decode(), "%H:%M:%S.%f").time())


def _moment(key: bytes) -> datetime | None:
    try:
        return datetime.fromisoformat(key.decode())
    except ValueError:  # only looked like a date
        return None


def _key(moment: datetime) -> bytes:
    return moment.isoformat(" ", "milliseconds").encode()
