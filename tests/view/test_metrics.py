"""Reading metrics while they are being written."""

from pathlib import Path

import pytest

from launcher.view.metrics import MetricsReader, read_metrics, series


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "trainer.jsonl"


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
    append(path, '{"step": 1, "na')
    assert reader.new_lines() == []
    append(path, 'me": "ü"}')
    assert reader.new_lines() == []
    append(path, "\n")
    assert reader.new_lines() == [{"step": 1, "name": "ü"}]


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
