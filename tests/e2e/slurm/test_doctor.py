"""`launch doctor --nodes` over the nodes of an allocation."""

import subprocess

import pytest

from tests.e2e.slurm.submitting import Login
from tests.launching import LAUNCH
from tests.waiting import until

pytestmark = pytest.mark.slow


@pytest.mark.timeout(500)
def test_one_line_typed_in_an_allocation_checks_all_its_nodes(login: Login) -> None:
    line = ("srun", "--ntasks-per-node=1", "--nodes=2", LAUNCH, "doctor", "--nodes", "2", "--output-dir", "out")
    done = subprocess.run(
        ("salloc", "--nodes=2", *line),
        cwd=login.directory,
        env=login.environment,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert "node 0 waits for node 1 at 127.0.0.1:29501" in done.stdout
    found = [words[1:] for line in done.stdout.splitlines() if (words := line.split())[:1] == ["ok"]]
    assert {"node", "versions", "clocks", "directory", "ports"} <= {words[0] for words in found}, done.stdout
    assert "64 MB by gloo: 0-1 " in done.stdout
    until(lambda: not login.alive())


def test_without_srun_the_line_to_type_is_named(login: Login) -> None:
    done = subprocess.run(
        ("salloc", "--nodes=2", LAUNCH, "doctor", "--nodes", "2"),
        cwd=login.directory,
        env=login.environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 2
    assert "srun --nodes=2 --ntasks-per-node=1 launch doctor --nodes 2" in done.stderr
