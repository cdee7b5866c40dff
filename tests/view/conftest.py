from pathlib import Path

import pytest

from launcher.plan.spec import Plan
from tests.plans import machine, plan_of, rl


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """The third attempt of an RL run on two GPUs, in the directory where we are."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return plan_of(rl("--nproc", "2"), machine(gpus=2), root=tmp_path / "outputs" / "otter", attempt=3)
