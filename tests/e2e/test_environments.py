"""`launch rl` on environments of `verifiers`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.tracking.samples import read_samples, samples_file
from launcher.view.metric_curves import read_metrics
from tests.launching import Launcher, launcher_in
from tests.waiting import until

pytestmark = pytest.mark.slow

ENVIRONMENTS = Path(__file__).parents[1] / "environments"
SMALL = ("--max-steps", "3", "--orchestrator.prompts-per-step", "4", "--orchestrator.samples-per-prompt", "4")
SMALL += ("--orchestrator.evaluation.prompts", "4", "--no-tmux")


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[Launcher]:
    directory = tmp_path / "it's a directory"
    directory.mkdir()
    with launcher_in(directory) as launcher:
        yield launcher


def test_an_environment_is_trained_on(launcher: Launcher) -> None:
    launched = launcher(
        "rl", "--output-dir", "run", "--task", "verifiers:reverse-chat", *SMALL, PYTHONPATH=str(ENVIRONMENTS)
    )
    assert launched.exit_code() == 0, launched.output[-3000:]
    lines = read_metrics(launched.run.metrics("orchestrator"))
    steps = [line for line in lines if "reward/mean" in line]
    assert [line["step"] for line in steps] == [1, 2, 3]
    assert all(line["task/turns"] == 1 and line["task/letters"] > 0 and line["reward/failed"] == 0 for line in steps)
    rows = read_samples(samples_file(launched.run.samples("orchestrator"), 3))
    assert all(row["prompt"].startswith("user: ") and row["prompt"].endswith(">") for row in rows)
    trained = [line for line in read_metrics(launched.run.metrics("trainer")) if "policy/logprob_difference" in line]
    assert len(trained) == 3 and all(abs(line["policy/logprob_difference"]) < 1e-4 for line in trained[:1])


def test_an_environment_with_tools_leaves_no_server_of_its_own_behind(launcher: Launcher) -> None:
    settings = launcher.directory / "tools.toml"
    settings.write_text('[task]\nname = "verifiers:secret-tool"\n[task.args.agent]\nmax_turns = 2\n')
    context = ("--trainer.model.tiny.context", "128")
    launched = launcher("rl", "@", "tools.toml", "--output-dir", "run", *context, *SMALL, PYTHONPATH=str(ENVIRONMENTS))
    assert launched.exit_code() == 0, launched.output[-3000:]
    lines = read_metrics(launched.run.metrics("orchestrator"))
    assert [line["step"] for line in lines if "task/asked" in line] == [1, 2, 3]
    until(lambda: not launcher.alive())
