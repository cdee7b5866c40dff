import os
import pty
import subprocess
from pathlib import Path

import pytest

from launcher.tracking.samples import SamplesFiles
from tests.launching import LAUNCH
from tests.runs.test_choice import a_run

pytestmark = pytest.mark.usefixtures("here")


def with_samples(root: Path, component: str = "orchestrator") -> None:
    a_run(root)
    files = SamplesFiles(root / "samples" / component)
    for step in (1, 2):
        rewards = [(0.2 * number, f"step {step}, sample {number}") for number in range(5)]
        files.log_samples(
            step, [{"prompt": "hello>", "completion": text, "reward": reward} for reward, text in rewards]
        )


def launch(*arguments: str, exit_code: int = 0) -> str:
    done = subprocess.run([LAUNCH, "samples", *arguments], capture_output=True, text=True)
    assert done.returncode == exit_code, done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("component", ["orchestrator", "trainer"])
def test_the_newest_steps_samples_are_shown(here: Path, component: str) -> None:
    with_samples(here / "outputs" / "otter", component)
    shown = launch()
    assert f"otter, {component}, step 2: 5 of 5 samples" in shown
    assert "step 2, sample 0" in shown and "hello>" in shown


def test_a_step_and_the_best_or_worst_of_it_can_be_asked_for(here: Path) -> None:
    with_samples(here / "outputs" / "otter")
    best, worst = (launch("otter", "--step", "1", flag, "--count", "1") for flag in ("--best", "--worst"))
    assert "step 1, sample 4" in best and "sample 0" not in best
    assert "step 1, sample 0" in worst and "sample 4" not in worst


def test_what_is_not_there_is_said(here: Path) -> None:
    a_run(here / "outputs" / "new")
    assert "new has no samples yet" in launch("new", exit_code=2)
    with_samples(here / "outputs" / "otter")
    refused = launch("otter", "--step", "7", exit_code=2)
    assert "no samples of step 7" in refused and "1, 2" in refused
    assert "--worst and --best" in launch("otter", "--worst", "--best", exit_code=2)


@pytest.mark.parametrize("link", ["samples", "samples/orchestrator"])
def test_samples_behind_a_link_are_not_shown(here: Path, link: str) -> None:
    with_samples(here / "elsewhere")
    run = here / "outputs" / "otter"
    a_run(run)
    (run / link).parent.mkdir(exist_ok=True)
    (run / link).symlink_to(here / "elsewhere" / link)
    assert f"{run / link} is a symbolic link" in launch("otter", exit_code=2)


def test_a_terminal_gets_a_pager(here: Path) -> None:
    with_samples(here / "outputs" / "otter")
    ours, its = pty.openpty()
    environment = os.environ | {"PAGER": "sh -c 'tr a-z A-Z > paged'"}
    subprocess.run([LAUNCH, "samples"], stdin=its, stdout=its, env=environment, check=True)
    os.close(its)
    os.close(ours)
    assert "STEP 2, SAMPLE 0" in (here / "paged").read_text()
