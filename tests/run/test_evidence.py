"""What the machine knows of a failure."""

import os
from pathlib import Path

import pytest

from launcher.run.evidence import full_disk


def test_a_full_disk_is_said_since_nobody_could_write_it_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert full_disk(tmp_path) == []
    full = os.statvfs_result((4096, 4096, 1000, 15, 15, 100, 50, 50, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: full)
    assert full_disk(tmp_path) == [f"the disk of {tmp_path} is full"]
