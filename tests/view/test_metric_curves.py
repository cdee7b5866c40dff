"""Reading metrics while they are being written."""

from pathlib import Path

import pytest

from launcher.plan.spec import Progress
from launcher.view.metric_curves import (
    TAIL,
    MetricsReader,
    newest_values,
    progress_text,
    read_curve,
    read_metrics,
    read_newest,
    series,
    steps_made,
)
from tests.plans import plan_of, sft, train


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "trainer.jsonl"


def bytes_read() -> int:
    """By this process, so far."""
    return int(Path("/proc/self/io").read_text().split()[1])


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_a_file_that_is_not_there_yet_has_no_steps(path: Path) -> None:
    reader = MetricsReader(path)
    assert reader.new_lines() == []
    append(path, '{"step": 1}\n')
    assert reader.new_lines() == [{"step": 1}]


def test_each_step_is_given_once(path: Path) -> None:
    reader = MetricsReader(path)
    append(path, '{"step": 1}\n{"step": 2}\n')
    assert [step["step"] for step in reader.new_lines()] == [1, 2]
    assert reader.new_lines() == []
    append(path, '{"step": 3}\n')
    assert [step["step"] for step in reader.new_lines()] == [3]


def test_half_a_line_is_kept_until_its_end_comes(path: Path) -> None:
    reader = MetricsReader(path)
    append(path, '{"step": 1, "n')
    assert reader.new_lines() == []
    append(path, 'ü": 2}')
    assert reader.new_lines() == []
    append(path, "\n")
    assert reader.new_lines() == [{"step": 1, "nü": 2}]


def test_a_file_that_was_rewound_is_read_from_its_start(path: Path) -> None:
    reader = MetricsReader(path)
    append(path, '{"step": 1}\n{"step": 2}\n{"ste')
    reader.new_lines()
    path.write_text('{"step": 1}\n')
    assert reader.new_lines() == [{"step": 1}]


@pytest.mark.parametrize("line", ["", "nonsense", "[1]", "3", "null", '{"loss": 1}', "\x00\x00", "{"])
def test_a_line_that_is_no_step_is_passed_over(path: Path, line: str) -> None:
    append(path, f'{line}\n{{"step": 2}}\n')
    assert read_metrics(path) == [{"step": 2}]


def test_bytes_that_are_no_text_are_passed_over(path: Path) -> None:
    path.write_bytes(b'\xff\xfe\n{"step": 2}\n')
    assert read_metrics(path) == [{"step": 2}]


def test_a_series_has_the_numbers_of_the_steps_that_have_one() -> None:
    steps = [{"step": 1, "loss": 3}, {"step": 2}, {"step": 3, "loss": None}, {"step": 4, "loss": 0.5}, {"loss": "x"}]
    assert series(steps, "loss") == [3.0, 0.5]


# --- the newest -------------------------------------------------------------------------------------------------------


def test_the_newest_steps_are_whole_and_the_last_ones(path: Path) -> None:
    append(path, "".join(f'{{"step": {number}, "loss": 0.5}}\n' for number in range(10_000)))
    steps = [step["step"] for step in read_newest(path)]
    assert steps == list(range(steps[0], 10_000))
    assert 10 < len(steps) < TAIL


def test_of_steps_with_very_long_lines_there_is_at_least_one(path: Path) -> None:
    append(path, "".join(f'{{"step": {number}, "text": "{"x" * 3 * TAIL}"}}\n' for number in range(5)))
    assert read_newest(path)[-1]["step"] == 4


@pytest.mark.parametrize("count", [3, 50, 100_000])
def test_a_curve_goes_over_the_whole_run(path: Path, count: int) -> None:
    append(path, "".join(f'{{"step": {number}, "loss": {1 - number / count}}}\n' for number in range(count)))
    curve = read_curve(path, "loss", 40)
    assert len(curve) == (40 if count == 100_000 else count)
    assert curve == sorted(curve, reverse=True)
    assert curve[0] == pytest.approx(1, abs=0.01)
    assert curve[-1] == pytest.approx(1 / count, abs=0.01)


def test_of_a_long_file_only_samples_are_read(path: Path) -> None:
    append(path, "".join(f'{{"step": {number}, "loss": 0.5}}\n' for number in range(100_000)))
    before = bytes_read()
    assert read_curve(path, "loss", 40) == [0.5] * 40
    assert bytes_read() - before < path.stat().st_size / 20


def test_a_curve_of_very_long_lines_has_its_points(path: Path) -> None:
    append(path, "".join(f'{{"step": {n}, "loss": {n}, "text": "{"x" * 3 * TAIL}"}}\n' for n in range(50)))
    assert len(read_curve(path, "loss", 10)) > 5


def test_half_a_line_is_not_the_newest_step(path: Path) -> None:
    append(path, '{"step": 1}\n{"step": 2')
    assert read_newest(path) == [{"step": 1}]


@pytest.mark.parametrize("content", [None, "", "nonsense\n" * TAIL])
def test_a_file_without_steps_has_no_newest_one(path: Path, content: str | None) -> None:
    if content is not None:
        append(path, content)
    assert read_newest(path) == []


def test_the_newest_values_are_numbers_and_may_be_a_few_steps_old() -> None:
    steps = [{"step": 1, "old": 1.0}, {"step": 2, "evaluation/reward": 0.5}, *({"step": n} for n in range(3, 6))]
    steps.append({"step": 6, "time": 1.0, "loss": 2, "nan": float("nan"), "text": "x"})
    assert newest_values(steps) == {"evaluation/reward": 0.5, "loss": 2}


@pytest.mark.parametrize(
    ("loss", "text"),
    [(0.12345, "step 4/9  loss 0.123"), (0.0001, "step 4/9  loss 0.0001"), (2, "step 4/9  loss 2"), (None, "step 4/9")],
)
def test_progress_is_the_step_and_the_metric_if_the_step_has_it(loss: float | None, text: str) -> None:
    assert progress_text(Progress("trainer", "loss", 9), {"step": 4, "loss": loss}) == text


def test_no_step_is_step_0_where_steps_are_seen_and_unknown_elsewhere(tmp_path: Path) -> None:
    ours = plan_of(sft(), root=tmp_path)
    assert steps_made(ours) == 0
    assert steps_made(plan_of(train("train.py"), root=tmp_path)) is None
    assert steps_made(plan_of(train("--trainer.progress", "step (?P<step>[0-9]+)", "train.py"), root=tmp_path)) == 0
    ours.run.all_metrics.mkdir()
    append(ours.run.metrics("trainer"), '{"step": 7, "time": 1.0, "loss": 2.0}\n')
    assert steps_made(ours) == 7
