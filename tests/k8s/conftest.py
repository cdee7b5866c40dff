"""A machine with the tests' own kubectl."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.k8s.login import Login
from tests.tmux_server import TmuxServer
from tests.waiting import until


@pytest.fixture
def login(tmp_path: Path) -> Iterator[Login]:
    login = Login(tmp_path)
    yield login
    for name in login.jobsets():
        subprocess.run(
            [str(tmp_path / "bin" / "kubectl"), "delete", "jobset", name], env=login.environment, check=False
        )
    until(lambda: not login.alive())


@pytest.fixture
def outer(tmux: TmuxServer, login: Login) -> Iterator[TmuxServer]:
    """Where somebody attaches from. The panes have the test's mark too, and end with their server."""
    yield TmuxServer(tmux.home, "outer")
    for socket in ("outer", "default"):
        subprocess.run(["tmux", "-L", socket, "kill-server"], capture_output=True, check=False)
