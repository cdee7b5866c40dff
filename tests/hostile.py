"""What a stranger may write into a file or a socket, and a watch over what comes of it."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

EVIL = ["\x1b[31m", "\x9b2J", "\u202eabc", "#(touch PWNED)", "../../../etc", "a\nb", "\0", "\udc80", "", "-x", "node_x"]
numbers = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([10**400, -(10**400), 1e308, -1e308, float("nan"), float("inf"), 2**63, -1, 0, True]),
)
texts = st.one_of(st.sampled_from(EVIL), st.text(max_size=20))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=8,
)
DEEP = [b"[" * 50_000, b'"\\udc80' + b"[" * 50_000, b'{"a":' * 50_000, b"1" * 10_000, b"\xff\xfe", b""]


def sizes(many: int) -> Any:
    """Thousands of examples in CI, the same few for everybody."""
    fixture = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(max_examples=many, deadline=None, suppress_health_check=fixture, derandomize=many <= 100)


@contextmanager
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory; no process is signalled from here, and no file written beside it."""
    signalled: list[Any] = []
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for owner, name in ((os, "kill"), (os, "killpg"), (signal, "pidfd_send_signal")):
        monkeypatch.setattr(owner, name, lambda *words: signalled.append(words))
    directory = tmp_path / "here"
    directory.mkdir()
    monkeypatch.chdir(directory)
    yield directory
    assert signalled == []
    assert {path.name for path in tmp_path.iterdir()} == {"here"}


def dumped(value: object) -> bytes:
    return json.dumps(value).encode()


@st.composite
def changed(draw: st.DrawFn, whole: dict[str, Any]) -> bytes:
    """The object with a few of its values, at any depth, replaced; or bytes that are none."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.one_of(st.binary(max_size=50), st.sampled_from(DEEP)))
    copy = json.loads(json.dumps(whole))
    for _ in range(draw(st.integers(1, 3))):
        place: Any = copy
        while True:
            key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
            if isinstance(place[key], (dict, list)) and place[key] and draw(st.booleans()):
                place = place[key]
                continue
            place[key] = draw(values)
            break
    return dumped(copy)


def is_clean(text: str) -> bool:
    return not any(c in text for c in "\x1b\x9b\x07\x00\u202e")


ASKS = {"kind": "rl", "ranks per node": 2}
FAILURE = {"component": "trainer", "rank": 1, "what": "SIGSEGV", "cause": "x", "log": "/l", "collateral": ["inference"]}
