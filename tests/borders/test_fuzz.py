"""Whatever is in a run's files or comes from another node is refused as documented, or shown, and that is all."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from launcher.nodes.meeting import ANSWER, CHALLENGE, HELLO
from launcher.nodes.messages import Report
from launcher.rundir import RunDir
from launcher.runs.state import ProgressState, load_state, trouble_of
from launcher.view.metric_curves import MetricsReader, newest_values, progress_text, read_newest, series
from launcher.view.plot import plot, sparkline
from launcher.view.status.model import all_runs, run_details
from launcher.view.status.page import run_page
from launcher.view.status.table import runs_screen
from tests.hostile import ASKS, FAILURE, changed, dumped, is_clean, sizes, watched
from tests.states import state_of

REPORT = TypeAdapter(Report)
WITHIN = 5.0  # seconds of the processor for one example
few, many = sizes(100), sizes(3000)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with watched(tmp_path, monkeypatch) as directory:
        yield directory
        allowed = {"outputs", "outputs/otter", "outputs/otter/run.json", "outputs/otter/metrics"}
        written = {str(path.relative_to(directory)) for path in directory.rglob("*")}
        assert written <= allowed | {"outputs/otter/metrics/trainer.jsonl"}


def base(run: RunDir) -> dict[str, Any]:
    return state_of(run, kind="rl", state="running", host="elsewhere").model_dump(mode="json")


# --- files of a run ---------------------------------------------------------------------------------------------------


def show_run(content: bytes, metrics: bytes) -> None:
    run = RunDir(Path.cwd() / "outputs" / "otter")
    run.all_metrics.mkdir(parents=True, exist_ok=True)
    run.state.write_bytes(content)
    run.metrics("trainer").write_bytes(metrics)
    began = time.process_time()
    shown = runs_screen(all_runs())
    try:
        state = load_state(run)
    except (OSError, ValueError) as error:
        shown += trouble_of(error)
    else:
        shown += run_page(state, run_details(run, state), colours=False)
    assert is_clean(shown)
    assert time.process_time() - began < WITHIN


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
