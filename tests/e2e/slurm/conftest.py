"""The cluster that these tests share."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.slurm.cluster import Cluster, lacking
from tests.e2e.slurm.submitting import Login


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """One Slurm for all tests; LAUNCH_SLURM_TESTS=required makes a failure of what would be a skip."""
    trouble = lacking()
    if trouble and os.environ.get("LAUNCH_SLURM_TESTS") == "required":
        pytest.fail(f"no Slurm here: {trouble}")
    if trouble:
        pytest.skip(f"no Slurm here: {trouble}; as root: apt-get install slurm-wlm munge")
    root = Path(tempfile.mkdtemp(prefix="slurm-test-", dir="/tmp"))  # short: sockets are in it
    cluster = Cluster(root)
    try:
        yield cluster
    finally:
        cluster.close()
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def login(cluster: Cluster, tmp_path: Path) -> Iterator[Login]:
    """A login node with a directory that the nodes share; nothing that was started from it may be left."""
    login = Login(cluster, tmp_path)
    yield login
    login.end()
