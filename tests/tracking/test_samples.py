from pathlib import Path
from typing import Any

import pytest

from launcher.checkpoints import steps_in
from launcher.tracking.samples import MAX_TEXT, ROWS, SamplesFiles, is_kept, read_samples, samples_file


def row(completion: str, reward: float = 0.5) -> dict[str, Any]:
    return {"prompt": "hello>", "completion": completion, "reward": reward, "advantage": None}


def test_what_is_logged_is_read_again(tmp_path: Path) -> None:
    files = SamplesFiles(tmp_path / "samples" / "orchestrator")
    files.log_samples(7, [row("olleh\n\x1b[31m\ud83d"), row("", float("nan")), row("", 10**400)])
    read = read_samples(samples_file(files.directory, 7))
    assert read[0] == row("olleh\n\x1b[31m\ud83d")
    assert read[1]["reward"] is None and read[2]["reward"] is None


def test_size_and_number_of_the_files_are_bounded(tmp_path: Path) -> None:
    files = SamplesFiles(tmp_path / "orchestrator")
    for step in range(1, 701):
        files.log_samples(step, [row("x")])
    assert steps_in(files.directory) == [100, *range(200, 651, 10), *range(651, 701)]
    files.log_samples(701, [row("x" * 10 * MAX_TEXT)] * 2 * ROWS)
    assert samples_file(files.directory, 701).stat().st_size < 2 * ROWS * MAX_TEXT
    assert len(read_samples(samples_file(files.directory, 701))) == ROWS


@pytest.mark.parametrize("newest", [1, 49, 50, 5_000, 10**6, 10**7])
def test_a_long_run_keeps_few(newest: int) -> None:
    assert sum(is_kept(step, newest) for step in range(max(1, newest - 10**5), newest + 1)) <= 250


def test_what_will_be_logged_again_is_dropped(tmp_path: Path) -> None:
    files = SamplesFiles(tmp_path / "orchestrator")
    for step in (1, 2, 3):
        files.log_samples(step, [row("x")])
    files.rewind(1)
    assert steps_in(files.directory) == [1]
    SamplesFiles(tmp_path / "none").rewind(1)


def test_lines_that_are_no_samples_are_skipped(tmp_path: Path) -> None:
    file = tmp_path / "step_1.jsonl"
    file.write_text('{"reward": 1}\nbroken\n[1]\n' + "[" * 100_000 + '\n{"reward": 2}')
    assert [row["reward"] for row in read_samples(file)] == [1, 2]


@pytest.mark.parametrize("link", ["samples", "samples/orchestrator"])
def test_samples_behind_a_link_are_neither_dropped_nor_written(tmp_path: Path, link: str) -> None:
    other = SamplesFiles(tmp_path / "other" / "orchestrator")
    other.log_samples(3, [row("x")])
    (tmp_path / link).parent.mkdir(exist_ok=True)
    (tmp_path / link).symlink_to(other.directory if "/" in link else other.directory.parent)
    files = SamplesFiles(tmp_path / "samples" / "orchestrator")
    files.rewind(1)
    files.log_samples(4, [row("x")])
    assert steps_in(other.directory) == [3]


def test_samples_that_cannot_be_dropped_do_not_end_the_component(tmp_path: Path) -> None:
    files = SamplesFiles(tmp_path / "orchestrator")
    samples_file(files.directory, 3).mkdir(parents=True)  # which unlink refuses, for root too
    files.rewind(1)
