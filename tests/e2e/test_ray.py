"""The Ray recipe, with Ray itself: everything of the cluster ends with the run, whatever Ray started for itself."""

import importlib.util
import re
import signal
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.launching import Launched, Launcher
from tests.several_nodes import Nodes, free_port
from tests.waiting import until

CONFIGS = Path(__file__).parent.parent.parent / "configs"
SMALL = ("--num-cpus=1", "--object-store-memory=80000000")
PATIENCE = 240  # seconds, of a machine that does other things as well

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        importlib.util.find_spec("ray") is None, reason='ray missing: pip install -c constraints.txt -e ".[recipes]"'
    ),
]


def recipe(*driver: str) -> tuple[str, ...]:
    """The recipe's command line, with its scripts found from elsewhere and a driver that is given its arguments."""
    words = ("--port", "{services.ray.port}", "--worker", " ".join(SMALL), "{python}", *driver)
    script = f"--trainer.script={CONFIGS / 'ray_node.py'}"
    head = [f"--services.ray.args={option}" for option in SMALL]
    return ("train", "@", str(CONFIGS / "ray.toml"), script, *head, *(f"--trainer.args={word}" for word in words))


def below(run: Launched) -> list[psutil.Process]:
    """Every process of the run, as the kernel knows it: some of Ray's overwrite their names and environments."""
    return psutil.Process(run.pid_of("guard")).children(recursive=True)


def names(processes: list[psutil.Process]) -> list[str]:
    """Those of the processes that are still there."""
    found = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            found.append(process.name())
    return found


@pytest.mark.runs("Ray, two nodes", "ray", "configs/ray.toml")
def test_a_cluster_over_two_nodes_is_there_for_the_driver_and_ends_with_it(launch: Launcher) -> None:
    port = str(free_port())
    driver = (str(CONFIGS / "ray_driver.py"), "--steps", "5")
    nodes = Nodes(launch, *recipe(*driver), "--services.ray.port", port, "--nnodes", "2")
    nodes.launched[0].wait_for_output("has 2 nodes: starting", PATIENCE)
    processes = [process for node in nodes.launched for process in below(node)]
    assert sum("raylet" in name for name in names(processes)) == 2
    assert nodes.exit_codes(PATIENCE) == [0, 0], nodes.outputs()
    places = re.findall(r"worker \d is on .*, Ray node (\w+)", nodes.launched[0].output)
    assert len(places) == len(set(places)) == 2
    assert "step 5 total 20" in nodes.launched[0].output
    until(lambda: not [process for process in processes if process.is_running()])


@pytest.mark.runs("Ray, one node", "ray", "configs/ray.toml")
def test_a_head_that_is_killed_ends_the_run_with_all_that_ray_had_started(launch: Launcher) -> None:
    driver = (str(CONFIGS / "ray_driver.py"), "--steps", "1000000")
    run = launch(*recipe(*driver), "--nproc", "2", "--output-dir", "run", "--no-tmux")
    run.wait_for_output("step 5 total", PATIENCE)
    processes = below(run)
    assert any("gcs_server" in name for name in names(processes))
    psutil.Process(run.pid_of("ray")).send_signal(signal.SIGKILL)
    assert run.exit_code(PATIENCE) == 1
    assert "FAILED  ray: SIGKILL" in run.output
    until(lambda: not [process for process in processes if process.is_running()])
