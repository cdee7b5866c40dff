"""Fixtures that more than one room's tests need."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.launching import Launcher, launcher_in
from tests.tmux_server import TmuxServer
from tests.waiting import until

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # hundreds of launches would compile the package, each for itself

for _number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):  # ignored in what a shell has put in its background
    signal.signal(_number, signal.default_int_handler if _number is signal.SIGINT else signal.SIG_DFL)


@pytest.fixture(autouse=True)
def registry(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs of whoever runs the tests are neither seen nor added to."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / "state"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without runs, and a registry that nobody has used."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    directory = tmp_path / "here"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


@pytest.fixture
def tmux(monkeypatch: pytest.MonkeyPatch) -> Iterator[TmuxServer]:
    """A user's tmux, not yet running: whatever `tmux` this test or its children start is private, and ended with it."""
    home = Path(tempfile.mkdtemp(prefix="tmux-test-", dir="/tmp"))  # short: a socket's path has at most 107 characters
    user = {"TMUX_TMPDIR": str(home), "HOME": str(home), "TERM": "screen-256color", "LC_ALL": "C.UTF-8"}
    for name, value in user.items():
        monkeypatch.setenv(name, value)
    for name in ("TMUX", "TMUX_PANE", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    yield TmuxServer(home)
    for socket in home.glob(f"tmux-{os.getuid()}/*"):
        subprocess.run(["tmux", "-S", socket, "kill-server"], capture_output=True, check=False)
    until(lambda: shutil.rmtree(home, ignore_errors=True) or not home.exists())  # a server that ends may still write


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launcher]:
    with launcher_in(tmp_path) as launcher:
        yield launcher
