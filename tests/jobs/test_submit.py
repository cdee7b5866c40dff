"""`--slurm` where there is no Slurm, or one that only pretends."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.rundir import RunDir
from launcher.runs.state import read_state
from tests.launching import LAUNCH

FAKE = "#!/bin/sh\n"


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    return tmp_path


def typed(here: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """With no program on the PATH but what a test has put there."""
    path = f"{here / 'bin'}:{Path(sys.executable).parent}"
    environment = {**os.environ, "PATH": path, "XDG_STATE_HOME": str(here / "state")} | more
    return subprocess.run([LAUNCH, *words], cwd=here, env=environment, capture_output=True, text=True, timeout=240)


def fake(here: Path, name: str, text: str) -> None:
    (here / "bin" / name).write_text(FAKE + text)
    (here / "bin" / name).chmod(0o755)


def test_without_slurm_the_request_is_refused_and_nothing_made(here: Path) -> None:
    done = typed(here, "sft", "--slurm", "--output-dir", "run")
    assert done.returncode == 2
    assert "there is no Slurm on this machine" in done.stderr
    assert "--dry-run" in done.stderr
    assert not (here / "run").exists()


def test_without_slurm_the_script_is_printed_all_the_same(here: Path) -> None:
    done = typed(here, "rl", "--slurm", "--slurm.gpus-per-node", "8", "--dry-run", "--output-dir", "run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("#!/bin/bash\n")
    assert "#SBATCH --gpus-per-node=8\n" in done.stdout
    assert not (here / "run").exists()


def test_a_job_of_several_nodes_is_submitted_with_one_task_on_each(here: Path) -> None:
    fake(here, "sbatch", "echo 77\n")
    done = typed(here, "rl", "--inference.nodes", "1", "--nnodes", "2", "--slurm", "--output-dir", "run")
    assert done.returncode == 0, done.stderr
    assert "submitted as job 77, 3 nodes" in done.stdout
    assert "srun --nodes=3 --ntasks=3 " in (here / "run" / "job.sbatch").read_text()


def test_more_ranks_than_gpus_are_refused_before_anybody_queues(here: Path) -> None:
    done = typed(here, "sft", "--slurm", "--slurm.gpus-per-node", "2", "--nproc", "4", "--dry-run")
    assert done.returncode == 2
    assert "GPU" in done.stderr


def test_what_is_submitted_is_written_down_first(here: Path) -> None:
    fake(here, "sbatch", 'test -s "$2" && echo "77;tiny"\n')
    done = typed(here, "sft", "--slurm", "--name", "otter", "--max-steps", "3")
    assert done.returncode == 0, done.stderr
    run = RunDir(here / "outputs" / "otter")
    state = read_state(run)
    assert state is not None
    assert state.slurm is not None
    assert (state.state, state.attempt, state.slurm.job, state.slurm.cluster) == ("queued", 1, "77", "tiny")
    assert run.config.exists()
    assert run.job_script.read_text().startswith("#!/bin/bash\n")
    for command in ("status otter", "logs otter -f", "attach otter", "stop otter"):
        assert f"launch {command}\n" in done.stdout
    assert "queued" in typed(here, "status").stdout
    stopped = typed(here, "stop", "otter")
    assert (stopped.returncode, "scancel --clusters=tiny 77" in stopped.stderr) == (2, True)


def test_a_secret_that_no_file_may_hold_is_refused(here: Path) -> None:
    fake(here, "sbatch", "echo 77\n")
    done = typed(here, "sft", "--slurm", "--trainer.env", "HF_TOKEN=abc", "--output-dir", "run")
    assert done.returncode == 2
    assert "export it" in done.stderr
    assert not (here / "run").exists()


def test_the_job_is_told_where_messages_go_by_a_variable(here: Path) -> None:
    fake(here, "sbatch", "echo 77\n")
    webhook = ("--notify.webhook", "https://hooks.slack.com/services/sesame")
    refused = typed(here, "sft", "--slurm", *webhook, "--output-dir", "run")
    assert refused.returncode == 2 and not (here / "run").exists()
    assert "export LAUNCH_NOTIFY_WEBHOOK=... instead" in refused.stderr and "sesame" not in refused.stderr
    done = typed(here, "sft", "--slurm", *webhook, "--output-dir", "run", LAUNCH_NOTIFY_WEBHOOK=webhook[1])
    assert done.returncode == 0, done.stderr
    assert "sesame" not in "".join(path.read_text() for path in (here / "run").rglob("*.toml"))


def test_sbatch_s_own_words_are_shown_and_the_directory_is_gone(here: Path) -> None:
    fake(here, "sbatch", "echo 'sbatch: error: invalid partition specified: x' >&2; exit 1\n")
    done = typed(here, "sft", "--slurm", "--output-dir", "run")
    assert done.returncode == 2
    assert "invalid partition specified: x" in done.stderr
    assert not (here / "run").exists()


@pytest.mark.parametrize("said", ["", "Welcome to the cluster"])
def test_an_sbatch_that_gives_no_job_id_is_said_so(here: Path, said: str) -> None:
    fake(here, "sbatch", f"echo '{said}'\n")
    done = typed(here, "sft", "--slurm", "--output-dir", "run")
    assert (done.returncode, done.stderr) == (
        2,
        "launch: sbatch has given no job id, so launch cannot find the job\n  look at: squeue --me\n",
    )


@pytest.mark.slow
def test_a_controller_that_does_not_answer_leaves_status_quick(here: Path) -> None:
    fake(here, "sbatch", "echo 77\n")
    assert typed(here, "sft", "--slurm", "--name", "otter").returncode == 0
    fake(here, "squeue", "exec /bin/sleep 100\n")
    done = typed(here, "status")
    assert done.returncode == 0
    assert "queued" in done.stdout


def test_a_run_that_has_ended_is_submitted_again_by_resume(here: Path) -> None:
    fake(here, "sbatch", "echo 77\n")
    assert typed(here, "sft", "--slurm", "--name", "otter").returncode == 0
    fake(here, "squeue", "exit 0\n")
    assert "cancelled" not in typed(here, "status", "otter").stdout
    fake(here, "scancel", "exit 0\n")
    assert typed(here, "stop", "otter").returncode == 0
    fake(here, "sbatch", "echo 78\n")
    done = typed(here, "resume", "otter")
    assert done.returncode == 0, done.stderr
    state = read_state(RunDir(here / "outputs" / "otter"))
    assert state is not None
    assert state.slurm is not None
    assert (state.state, state.slurm.job) == ("queued", "78")


SQUEUE = """case "$*" in
*%u*) printf '%s\\n' '{row}' ;;
*) echo '77|RUNNING|None' ;;
esac
"""


def submitted_as_77(here: Path) -> str:
    """The comment of run otter's job."""
    fake(here, "sbatch", 'test -z "$SBATCH_JOB_NAME" && echo 77\n')
    fake(here, "scancel", f"echo >> {here}/cancelled\nrm -f {here}/bin/squeue; echo '#!/bin/sh' > {here}/bin/squeue\n")
    assert typed(here, "sft", "--slurm", "--name", "otter").returncode == 0
    script = RunDir(here / "outputs" / "otter").job_script.read_text()
    return next(line.partition("--comment=")[2] for line in script.splitlines() if "--comment=" in line)


def test_a_job_that_is_not_the_runs_is_not_cancelled(here: Path) -> None:
    comment = submitted_as_77(here)
    rows = {
        "bob|train|(null)": "job 77 is not this run's: it is bob's, called train, with the comment (null)",
        "ann|otter|launch:0123456789abcdef": "called otter, with the comment launch:0123456789abcdef",
        f"ann|train\x1b[31m|{comment}": "called train",
        f"ann|otter|{comment}|": "not this run's",  # a name with a bar in it
        "": "Slurm does not say whose job 77 is",
    }
    for row, said in rows.items():
        fake(here, "squeue", SQUEUE.format(row=row))
        done = typed(here, "stop", "otter", *(["--now"] if "bob" in row else []))
        assert done.returncode == 2, done.stdout
        assert said in " ".join(done.stderr.split())
        assert "\x1b" not in done.stderr
    assert not (here / "cancelled").exists()


def test_the_job_that_has_the_runs_name_and_comment_is_cancelled(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SBATCH_JOB_NAME", "another")  # sbatch would believe it before the script
    comment = submitted_as_77(here)
    fake(here, "squeue", SQUEUE.format(row=f"ann|otter|{comment}"))
    done = typed(here, "stop", "otter")
    assert done.returncode == 0, done.stderr
    assert (here / "cancelled").exists()


def test_a_node_rank_of_one_node_is_refused_and_where_nodes_meet_is_the_jobs_own_affair(here: Path) -> None:
    words = ("sft", "--slurm", "--output-dir", "run", "--dry-run", "--node-rank", "1")
    refused = typed(here, *words)
    assert (refused.returncode, "--node-rank 1: the run has one node" in refused.stderr) == (2, True)
    done = typed(here, *words, "--nnodes", "2", "--rdzv-endpoint", "gpu01:29500")
    unused = "is not used: each node of the job is told its own rank, and where they meet"
    assert done.stderr.splitlines() == [
        f"launch: note: --node-rank 1 {unused}",
        f"launch: note: --rdzv-endpoint gpu01:29500 {unused}",
    ]
    assert done.returncode == 0


def test_a_setup_that_bash_cannot_read_is_refused_and_nothing_of_it_executed(here: Path) -> None:
    (here / "bin" / "bash").symlink_to("/bin/bash")
    words = ("sft", "--slurm", "--output-dir", "run", "--dry-run", "--slurm.setup", "touch hacked")
    refused = typed(here, *words, "--slurm.setup", "module load 'cuda")
    assert (refused.returncode, "--slurm.setup: bash cannot read it: line 2: unexpected EOF" in refused.stderr) == (
        2,
        True,
    )
    extended = ("shopt -s extglob", "echo !(keep)")
    for lines in (("for x in 1; do", "echo $x", "done"), ("module load cuda || exit 1",), extended):
        done = typed(here, *words, *(word for line in lines for word in ("--slurm.setup", line)))
        assert done.returncode == 0, done.stderr
    assert not (here / "hacked").exists()


def test_a_service_cannot_have_the_port_at_which_pods_meet_and_a_job_of_slurm_has_another(here: Path) -> None:
    service = ("--services.a.command", sys.executable, "--services.a.port", "29501")
    nodes = ("--nnodes", "2", *service, "--output-dir", str(here / "run"), "--dry-run")
    refused = typed(here, "sft", "--k8s.image", "lab/launch:1", "--k8s.volumes", f"data=claim:{here}", *nodes)
    assert refused.returncode == 2
    assert "(the launches meet on the next port) and --services.a.port: both have port 29501" in refused.stderr
    done = typed(here, "sft", "--slurm", *nodes)
    assert done.returncode == 0, done.stderr


def test_a_node_that_does_not_answer_is_named_by_stop(here: Path) -> None:
    comment = submitted_as_77(here)
    completing = SQUEUE.replace("77|RUNNING|None", "77|COMPLETING|None").replace("*%u*", "*%N*) echo n2 ;;\n*%u*")
    fake(here, "squeue", completing.format(row=f"ann|otter|{comment}"))
    fake(here, "sinfo", "echo 'n2|completing*'\n")
    fake(here, "scancel", "exit 0\n")
    done = typed(here, "stop", "otter")
    assert done.stdout.splitlines() == [
        "stopping otter (at most 2m 30s) ...",
        "otter: cancelled, its processes have ended on all nodes that answer Slurm; no answer from n2",
        "  Slurm ends what may still run there, and keeps job 77 until then; look at: squeue -j 77",
    ]


TASK = {"SLURM_STEP_ID": "0", "SLURM_NODEID": "1", "SLURM_STEP_NUM_NODES": "2", "SLURM_STEP_NUM_TASKS": "2"}
NODES = ("sft", "--nnodes", "2", "--rdzv-endpoint", "gpu01:29500", "--dry-run", "--name", "otter")


def test_within_srun_a_launch_is_the_node_that_slurm_says(here: Path) -> None:
    done = typed(here, *NODES, **TASK)
    assert done.returncode == 0, done.stderr
    assert "attempt 1, node 1 of 2" in done.stdout
    assert "# note: node rank 1 is SLURM_NODEID" in done.stdout


def test_a_node_whose_rank_slurm_says_needs_no_common_rendezvous_id(here: Path) -> None:
    done = typed(here, *NODES[:-2], "--rdzv-backend", "c10d", **TASK)
    assert (done.returncode, "--rdzv-backend=c10d" in done.stdout) == (0, True), done.stderr


@pytest.mark.parametrize("step", ["", "4294967291"], ids=["no step", "the batch script"])
def test_outside_srun_the_rank_has_to_be_typed(here: Path, step: str) -> None:
    done = typed(here, *NODES, **TASK | {"SLURM_STEP_ID": step})
    assert (done.returncode, "needs --node-rank" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--master-addr", "gpu01"), "--master-addr gpu01: a job of several nodes has a meeting point of its own"),
        (("--inference.nodes", "1", "--inference.replicas", "2"), "3 GPUs cannot be divided among as many servers"),
        (("--trainer.env", "HF_TOKEN=abc"), "a secret in `env`"),
    ],
)
def test_what_only_the_jobs_nodes_would_find_is_refused_by_a_dry_run(
    here: Path, options: tuple[str, ...], message: str
) -> None:
    nodes = ("--nnodes", "2", "--slurm", "--slurm.gpus-per-node", "3")
    done = typed(here, "rl", *nodes, *options, "--output-dir", "run", "--dry-run")
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr
