"""What was added to a file is read once, whatever happens to the file."""

import os
from pathlib import Path

import pytest

from launcher.borders.files import Bounds
from launcher.borders.growing_file import Added, GrowingFile

MOST = 1000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


def append(path: Path, text: bytes) -> None:
    with path.open("ab") as file:
        file.write(text)


def test_what_is_added_is_given_once_from_when_the_file_is_there(path: Path) -> None:
    file = GrowingFile(path)
    assert file.added(MOST) == Added()
    append(path, b"one")
    assert file.added(MOST).block == b"one"
    assert file.added(MOST) == Added()
    append(path, b"two")
    assert file.added(MOST) == Added(b"two")
    assert file.trouble is None


def test_a_long_addition_is_given_in_parts_or_only_its_end(path: Path) -> None:
    append(path, b"abcdefgh")
    file = GrowingFile(path)
    assert [file.added(3).block for _ in range(4)] == [b"abc", b"def", b"gh", b""]
    assert GrowingFile(path).added(3, newest=True) == Added(b"fgh", skipped=5, is_anew=True)


def test_what_was_there_is_skipped_when_asked_for(path: Path) -> None:
    append(path, b"before")
    file = GrowingFile(path, skip=True)
    assert file.added(MOST) == Added()
    append(path, b"after")
    assert file.added(MOST) == Added(b"after")


def test_a_file_that_became_shorter_is_read_from_its_start(path: Path) -> None:
    append(path, b"a long text")
    file = GrowingFile(path)
    file.added(MOST)
    path.write_bytes(b"short")
    assert file.added(MOST) == Added(b"short", is_anew=True)


@pytest.mark.parametrize("is_seen_missing", [True, False])
def test_another_file_is_read_from_its_start_however_long_it_is(path: Path, is_seen_missing: bool) -> None:
    append(path, b"one")
    file = GrowingFile(path)
    file.added(MOST)
    append(path.with_name("other"), b"two and more")
    if is_seen_missing:
        path.unlink()
        assert file.added(MOST) == Added()
    path.with_name("other").replace(path)
    assert file.added(MOST) == Added(b"two and more", is_anew=True)


@pytest.mark.parametrize("kind", ["fifo", "link"])
def test_it_says_why_what_is_no_regular_file_is_not_read(path: Path, kind: str) -> None:
    os.mkfifo(path) if kind == "fifo" else path.symlink_to(__file__)
    file = GrowingFile(path)
    assert file.added(MOST) == Added()
    assert file.trouble is not None
    assert ("regular file" if kind == "fifo" else "symbolic link") in file.trouble


def test_within_bounds_links_are_followed_and_what_was_read_before_a_trouble_is_not_read_twice(tmp_path: Path) -> None:
    inside, outside, link = tmp_path / "run" / "log", tmp_path / "secret", tmp_path / "run" / "link"
    inside.parent.mkdir()
    append(inside, b"one")
    append(outside, b"a secret text")
    link.symlink_to(inside)
    file = GrowingFile(link, Bounds(inside.parent.resolve()))
    assert file.added(MOST).block == b"one"
    link.unlink()
    link.symlink_to(outside)
    assert file.added(MOST) == Added()
    assert file.trouble is not None
    assert "leads outside" in file.trouble
    link.unlink()
    link.symlink_to(inside)
    append(inside, b"two")
    assert file.added(MOST).block == b"two"
