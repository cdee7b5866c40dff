"""The sbatch script: as a golden file, as bash sees it, and with names that want to be commands."""

import subprocess
import time
from pathlib import Path

import pytest

from launcher.config.run import RLConfig, SFTConfig
from launcher.errors import UserError
from launcher.plan.rendezvous import node_count
from launcher.rundir import RunDir
from launcher.slurm.client import comment_of
from launcher.slurm.script import sbatch_script
from tests.goldens import RUNS, check_golden, run_of
from tests.plans import machine, rl, sft

GOLDEN = Path(__file__).parent / "sbatch"
NASTY = 'it\'s a "run" $(touch hacked)\n`id` é \\'
SETUP = ("--slurm.setup", "module load cuda", "--slurm.setup", 'export NAME="a b"')
WISHES = (
    *("--slurm.partition", "gpu", "--slurm.account", "lab", "--slurm.qos", "high", "--slurm.time", "1-12:00:00"),
    *("--slurm.gpus-per-node", "h100:8", "--slurm.constraint", "nvlink&ib", "--slurm.exclusive"),
    *("--slurm.extra", "--mem=64G", "--slurm.extra", "mail-type=END"),
)
MORE = {
    "sft_two_nodes": ("--slurm.requeue", "--slurm.signal-lead", "3m", "--slurm.time", "60"),
    **dict.fromkeys(("rl_three_nodes", "rl_replicas", "rl_replicas_three_nodes"), ("--slurm.gpus-per-node", "8")),
}
SCRIPTS = {
    **{name: run_of(name, "--slurm", *MORE.get(name, ())) for name in RUNS},
    "rl_all_options": rl("--grace", "90s", *WISHES, *SETUP),
}


def script(config: RLConfig | SFTConfig, root: str = "/runs/otter", cwd: str = "/here") -> str:
    run = RunDir(Path(root))
    return sbatch_script(config, machine(cwd=Path(cwd)), run, "otter", comment_of(run))


def bash(text: str, *more: str) -> None:
    """Raises when bash, or shellcheck, finds anything wrong."""
    for checker in (["bash", "-n"], ["shellcheck", "--shell=bash", "-"]):
        done = subprocess.run([*checker, *more], input=text, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_script_is_the_golden_one(name: str) -> None:
    check_golden(GOLDEN / f"{name}.sbatch", script(SCRIPTS[name]))


@pytest.mark.parametrize("name", SCRIPTS)
def test_bash_and_shellcheck_find_nothing_wrong(name: str) -> None:
    bash(script(SCRIPTS[name]))


def test_names_that_want_to_be_commands_stay_names() -> None:
    text = script(sft("--slurm"), f"/runs/{NASTY}", f"/cwd/{NASTY}")
    bash(text)
    assignments = [text[text.index("run=") : text.index("\n# The output of this script")], 'printf "%s" "$run"']
    done = subprocess.run(["bash", "-c", "\n".join(assignments)], capture_output=True, text=True)
    assert done.stdout == f"/runs/{NASTY}"
    directives = [line for line in text.splitlines() if line.startswith("#SBATCH")]
    assert not [line for line in directives if "runs" in line or "cwd" in line]


def test_the_signal_comes_before_the_limit_by_the_grace_and_a_margin() -> None:
    assert "#SBATCH --signal=B:USR1@120\n" in script(sft("--slurm", "--grace", "90s"))
    assert "#SBATCH --signal=B:USR1@45\n" in script(sft("--slurm.signal-lead", "45s"))


def test_a_job_is_requeued_only_if_that_was_asked_for() -> None:
    assert "scontrol requeue" not in script(sft("--slurm"))
    assert "#SBATCH --no-requeue\n" in script(sft("--slurm"))
    text = script(sft("--slurm.requeue"))
    assert 'if [ "$code" -eq 138 ]' in text
    assert "#SBATCH --requeue\n" in text


def test_slurm_nodes_are_the_trainers_nodes() -> None:
    assert sft("--slurm.nodes", "3").trainer.torchrun.nnodes == "3"
    assert sft("--slurm.nodes", "3").slurm.nodes is None
    assert node_count(rl("--slurm", "--trainer.torchrun.nnodes", "4")) == 4
    with pytest.raises(UserError, match=r"slurm\.nodes leaves 3 to the trainer"):
        sft("--slurm.nodes", "3", "--trainer.torchrun.nnodes", "2")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--slurm.time", "tomorrow"), "not a Slurm time"),
        (("--slurm.time", "1", "--slurm.signal-lead", "60s"), "shorter than the time limit of 60s"),
        (("--slurm.time", "1"), "the time limit is 60s, but the run is stopped 60s before it"),
        (("--slurm.partition", "a b"), "must be one word"),
        (("--slurm.extra", "--nodes=3"), "use --trainer.torchrun.nnodes"),
        (("--slurm.extra", "-J x"), "use --name"),
        (("--slurm.extra", "--comment=mine"), "launch sets --comment itself"),
        (("--slurm.extra", "--comment=a\n#SBATCH --array=1"), "must be one line"),
        (("--slurm.nodes", "0"), "leaves 0 nodes"),
    ],
)
def test_what_slurm_would_not_understand_is_refused_here(options: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        sft("--slurm", *options)


def test_a_script_for_128_nodes_is_rendered_within_a_second() -> None:
    begun = time.process_time()
    text = script(rl("--slurm.nodes", "128", "--slurm.gpus-per-node", "8"))
    assert time.process_time() - begun < 1
    assert "--nodes=128 --ntasks=128" in text


def test_spare_nodes_are_asked_for_and_the_job_outlives_a_dead_node_with_the_runs_exit_code() -> None:
    config = sft("--slurm.nodes", "2", "--slurm.spare-nodes", "1", "--max-restarts", "1")
    assert (config.spare_nodes, config.slurm.spare_nodes) == (1, None)
    text = script(config)
    bash(text)
    assert "#SBATCH --nodes=3\n#" in text and "#SBATCH --no-kill\n" in text
    assert "--nodes=3 --ntasks=3 --ntasks-per-node=1 --no-kill --kill-on-bad-exit=0" in text
    assert 'launcher.slurm.outcome "$run" "$code"' in text
    assert 'launcher.slurm.lost_nodes "$run" "$running"' in text
    assert "outcome" not in script(sft("--slurm.nodes", "2"))
    with pytest.raises(UserError, match=r"slurm\.spare_nodes is 1, but spare_nodes is 2"):
        sft("--slurm.spare-nodes", "1", "--spare-nodes", "2")
