"""Files of a run are opened only where they are regular ones."""

import json
import os
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.borders.files import (
    appending,
    make_directory,
    matching,
    overwrite,
    read_bytes,
    read_named,
    reading,
    write_atomically,
)
from launcher.supervisor.listeners.log_metrics import newest_step
from launcher.tracking.sinks import MetricsFile

OPENERS: list[Callable[[Path], object]] = [appending, reading, read_bytes, lambda path: overwrite(path, b"ours")]


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize("kind", ["fifo", "link", "dangling link", "directory", "device"])
def test_what_is_not_a_regular_file_is_refused_at_once(
    tmp_path: Path, kind: str, opener: Callable[[Path], object]
) -> None:
    path, target = tmp_path / "planted", tmp_path / "target"
    target.write_text("precious")
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.symlink_to(target if kind == "link" else tmp_path / "nowhere")
    with pytest.raises(OSError, match=r"symbolic link|not a regular file|Is a directory"):
        opener(path)
    assert target.read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()


def test_a_file_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 11)
    assert read_bytes(path, limit=11) == b"x" * 11
    with pytest.raises(OSError, match="longer than 10 bytes"):
        read_bytes(path, limit=10)


def test_a_second_name_of_another_file_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    os.link(tmp_path / "precious", tmp_path / ".reserve")
    for write in (lambda path: overwrite(path, b"x"), appending):
        with pytest.raises(OSError, match="has a second name"):
            write(tmp_path / ".reserve")
    assert (tmp_path / "precious").read_text() == read_bytes(tmp_path / ".reserve").decode() == "precious"


def test_an_atomic_write_replaces_a_link_and_leaves_its_target(tmp_path: Path) -> None:
    path, target = tmp_path / "run.json", tmp_path / "target"
    target.write_text("precious")
    path.symlink_to(target)
    write_atomically(path, "ours")
    assert (path.read_text(), target.read_text()) == ("ours", "precious")
    assert sorted(tmp_path.iterdir()) == [path, target]


def test_a_directory_is_not_made_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "configs").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic link"):
        make_directory(tmp_path / "configs")


def test_metrics_are_rewound_past_a_link_that_was_planted_beside_them(tmp_path: Path) -> None:
    target, metrics = tmp_path / "target", MetricsFile(tmp_path / "trainer.jsonl")
    target.write_text("precious")
    (tmp_path / "trainer.part").symlink_to(target)
    for step in (1, 2):
        metrics.log({"loss": 1.0}, step)
    metrics.rewind(1)
    assert target.read_text() == "precious"
    assert len(metrics.path.read_text().splitlines()) == 1


def test_metrics_are_rewound_and_read_a_line_at_a_time(tmp_path: Path) -> None:
    metrics = MetricsFile(tmp_path / "trainer.jsonl")
    step = json.dumps({"step": 1, "text": "x" * 1000}).encode() + b"\n"
    with metrics.path.open("wb") as file:
        for _ in range(32):
            file.write(step * 1000)
        file.write(b"y" * (1 << 25))  # half a line, and a long one
    tracemalloc.start()
    try:
        assert newest_step(metrics.path) == 1
        metrics.rewind(1)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 1 << 23
    assert metrics.path.stat().st_size == 32_000 * len(step)


def test_metrics_that_no_run_has_written_are_left_alone(tmp_path: Path) -> None:
    metrics = MetricsFile(tmp_path / "trainer.jsonl")
    metrics.log({"loss": 1.0}, 3)
    os.truncate(metrics.path, 1 << 40)  # takes no room on the disk
    assert newest_step(metrics.path) == 0
    metrics.rewind(1)
    assert metrics.path.stat().st_size == 1 << 40
    assert [path.name for path in tmp_path.iterdir()] == ["trainer.jsonl"]


def test_a_file_that_the_user_has_named_may_be_a_pipe_and_is_bounded(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(b"text",))
    writer.start()
    assert read_named(tmp_path / "pipe") == b"text"
    writer.join()
    with pytest.raises(OSError, match="longer than 100 bytes"):
        read_named(Path("/dev/zero"), 100)


def test_a_directory_that_goes_while_it_is_looked_through_has_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user deletes the logs of a run that goes on."""
    doomed, scan = tmp_path / "attempt_0" / "0", os.scandir
    doomed.mkdir(parents=True)
    assert matching(tmp_path, "attempt_*/*") == [doomed]

    def remove_and_scan(path: Path) -> object:
        if Path(path) == doomed.parent:
            doomed.rmdir()
            doomed.parent.rmdir()
        return scan(path)

    monkeypatch.setattr(os, "scandir", remove_and_scan)
    assert matching(tmp_path, "attempt_*/*") == []
