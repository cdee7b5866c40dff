"""Whatever is in a run's files or comes from another node is refused as documented, or shown, and that is all."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from launcher.run.meeting import ANSWER, CHALLENGE, HELLO
from launcher.run.reports import Report
from launcher.run.state import ProcessState, ProgressState, RunState, load_state, trouble_of
from launcher.rundir import RunDir
from launcher.view.metrics import MetricsReader, newest_values, progress_text, read_newest, series
from launcher.view.plot import plot, sparkline
from launcher.view.status import all_runs, run_details
from launcher.view.status_page import run_page
from launcher.view.status_table import runs_screen

REPORT = TypeAdapter(Report)
WITHIN = 5.0  # seconds for one example, on a loaded machine
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
    """Thousands of examples in CI, a hundred for everybody."""
    fixture = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(max_examples=many, deadline=None, suppress_health_check=fixture, derandomize=many <= 100)


few, many = sizes(100), sizes(3000)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory; no process is signalled from here, and no file written beside the run's own."""
    signalled: list[Any] = []
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(os, "kill", lambda *words: signalled.append(words))
    monkeypatch.setattr(os, "killpg", lambda *words: signalled.append(words))
    directory = tmp_path / "here"
    directory.mkdir()
    monkeypatch.chdir(directory)
    yield directory
    assert signalled == []
    allowed = {"outputs", "outputs/otter", "outputs/otter/run.json", "outputs/otter/metrics"}
    written = {str(path.relative_to(directory)) for path in directory.rglob("*")}
    assert written <= allowed | {"outputs/otter/metrics/trainer.jsonl"}
    assert {path.name for path in tmp_path.iterdir()} == {"here"}


def dumped(value: object) -> bytes:
    return json.dumps(value).encode()


def base(run: RunDir) -> dict[str, Any]:
    state = RunState(
        name="otter",
        kind="rl",
        attempt=1,
        state="running",
        host="elsewhere",
        boot_id="b",
        started=time.time(),
        grace=30,
        progress=ProgressState(component="trainer", metric="loss", max_steps=3),
        processes=[ProcessState(name="trainer", log=run.component_log("trainer"))],
    )
    return state.model_dump(mode="json")


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


# --- files of a run ---------------------------------------------------------------------------------------------------


def show_run(content: bytes, metrics: bytes) -> None:
    run = RunDir(Path.cwd() / "outputs" / "otter")
    run.all_metrics.mkdir(parents=True, exist_ok=True)
    run.state.write_bytes(content)
    run.metrics("trainer").write_bytes(metrics)
    began = time.monotonic()
    shown = runs_screen(all_runs())
    try:
        state = load_state(run)
    except (OSError, ValueError) as error:
        shown += trouble_of(error)
    else:
        shown += run_page(state, run_details(run, state), colours=False)
    assert is_clean(shown)
    assert time.monotonic() - began < WITHIN


STEP = {"step": 1, "time": 1.0, "loss": 0.5, "reward/mean": 1.0}
run_json = st.builds(lambda: base(RunDir(Path("/outputs/otter")))).flatmap(changed)
metric_lines = st.lists(changed(STEP), max_size=5).map(b"\n".join).map(lambda lines: lines + b"\n")


@few
@given(content=run_json, metrics=metric_lines)
def test_a_run_is_shown_or_refused(content: bytes, metrics: bytes) -> None:
    show_run(content, metrics)


@pytest.mark.slow
@pytest.mark.timeout(900)
@many
@given(content=run_json, metrics=metric_lines)
def test_thousands_of_runs_are_shown_or_refused(content: bytes, metrics: bytes) -> None:
    show_run(content, metrics)


def show_metrics(lines: bytes) -> None:
    path = Path.cwd() / "outputs" / "otter" / "metrics" / "trainer.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(lines)
    steps = MetricsReader(path).new_lines()
    progress = ProgressState(component="trainer", metric="loss", max_steps=None)
    curve = series(steps, "loss")
    shown = [progress_text(progress, step) for step in steps] + plot(curve) + [sparkline(curve)]
    shown += [f"{name} {value:.4g}" for name, value in newest_values(read_newest(path)).items()]
    assert all(is_clean(text) and len(text) < 300 for text in shown)


@few
@given(metric_lines)
def test_metrics_are_shown_or_dropped(lines: bytes) -> None:
    show_metrics(lines)


@pytest.mark.slow
@pytest.mark.timeout(900)
@many
@given(metric_lines)
def test_thousands_of_metrics_are_shown_or_dropped(lines: bytes) -> None:
    show_metrics(lines)


# --- other nodes ------------------------------------------------------------------------------------------------------

ASKS = {"kind": "rl", "ranks per node": 2}
FAILURE = {"component": "trainer", "rank": 1, "what": "SIGSEGV", "cause": "x", "log": "/l", "collateral": ["inference"]}
MESSAGES: dict[str, tuple[TypeAdapter[Any], dict[str, Any]]] = {
    "challenge": (CHALLENGE, {"nonce": "ab", "secret": None}),
    "hello": (HELLO, {"node": 1, "host": "n1", "asks": ASKS, "inference_port": 80, "name": "otter", "nonce": "ab"}),
    "welcome": (ANSWER, {"name": "otter", "attempt": 1, "run_id": "ab", "hosts": ["n0"], "inference_ports": [80]}),
    "refusal": (ANSWER, {"why": "full"}),
    "report": (REPORT, {"state": "failed", "signal": 15, "failure": FAILURE, "quiet": [["trainer", 3.0]]}),
}
messages = st.sampled_from(sorted(MESSAGES)).flatmap(lambda kind: st.tuples(st.just(kind), changed(MESSAGES[kind][1])))


def hear(kind: str, line: bytes) -> None:
    adapter, _ = MESSAGES[kind]
    try:
        said = adapter.validate_json(line)
    except ValidationError:
        return
    text = adapter.dump_json(said).decode()
    assert is_clean(str(json.loads(text)))


def test_what_a_node_of_ours_says_is_believed() -> None:
    for adapter, message in MESSAGES.values():
        adapter.validate_json(dumped(message))


@few
@given(messages)
def test_what_a_node_says_is_believed_or_refused(message: tuple[str, bytes]) -> None:
    hear(*message)


@pytest.mark.slow
@pytest.mark.timeout(900)
@many
@given(messages)
def test_thousands_of_messages_are_believed_or_refused(message: tuple[str, bytes]) -> None:
    hear(*message)
