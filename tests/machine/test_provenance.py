"""What a run remembers of where it came from."""

import subprocess
from pathlib import Path

import pytest

from launcher.machine import provenance


def test_a_tree_is_dirty_clean_or_unknown_when_git_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(provenance, "GIT_SECONDS", 60.0)  # on a busy machine
    commit = [
        "git",
        "-c",
        "user.name=otter",
        "-c",
        "user.email=o@localhost",
        "commit",
        "-q",
        "--allow-empty",
        "-m",
        "x",
    ]
    for command in (["git", "init", "-q"], ["git", "add", "--all"], commit):
        (tmp_path / "file").write_text("first")
        subprocess.run(command, check=True)
    assert provenance.provenance().git_dirty is False
    (tmp_path / "file").write_text("second")
    assert provenance.provenance().git_dirty is True
    ask = provenance._git
    monkeypatch.setattr(provenance, "_git", lambda *words: ask(*words) if words[0] == "rev-parse" else None)
    assert provenance.provenance().git_dirty is None
