"""Every file in configs/ can be started from."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.launching import LAUNCH, Launcher
from tests.plans import machine, plan_of, rl, train

ROOT = Path(__file__).parent.parent
CONFIGS = sorted(ROOT.glob("configs/*.toml"))


def _command(config: Path) -> list[str]:
    """The command line that the file's second line gives."""
    second = config.read_text().splitlines()[1]
    assert second.startswith("# launch "), second
    return second.removeprefix("# launch ").split()


@pytest.fixture
def others_programs(tmp_path: Path) -> Path:
    """A directory with the programs and modules that recipes call and this environment may lack; nobody runs them."""
    for name in ("vllm", "transformers", "orchestrator", "inference", "rl", "env-server", "ray", "trl"):
        (tmp_path / name).write_text("#!/bin/false\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "train.py").touch()
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    for module in (
        "prime_rl/trainer/rl/train.py",
        "sglang/launch_server.py",
        "torchtitan/train.py",
        "scripts/base_train.py",
    ):
        (tmp_path / module).parent.mkdir(parents=True)
        (tmp_path / module).touch()
    return tmp_path


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.name)
def test_its_own_command_line_makes_a_plan(config: Path, others_programs: Path) -> None:
    command, environment = [LAUNCH, *_command(config), "--dry-run"], dict(os.environ)
    environment["PATH"] = f"{others_programs}:{environment['PATH']}"
    environment["PYTHONPATH"] = f"{others_programs}:{ROOT}"  # ours: of this tree, wherever launch is installed from
    done = subprocess.run(command, cwd=others_programs, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# as torchtitan's run_train.sh gives it to torchrun
TORCHTITAN = """--nproc_per_node=8 --rdzv_backend c10d --rdzv_endpoint=localhost:0 --local-ranks-filter 0 --role rank
    --tee 3 -m torchtitan.train --module llama3 --config llama3_debugmodel"""


def test_torchtitans_own_command_line_and_its_recipe_start_the_same(others_programs: Path) -> None:
    recipe = ["@", str(ROOT / "configs" / "torchtitan.toml")]
    typed, ours = (_torchrun(words, others_programs) for words in (TORCHTITAN.split(), recipe))
    assert {"--nproc-per-node=8", "--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"} <= set(typed)
    assert {"--local-ranks-filter=0", "--role=rank", "--tee=3"} <= set(typed)
    assert typed[typed.index("-m") :] == ["-m", "--", *TORCHTITAN.split()[-5:]]
    assert ours[: ours.index("--dump_folder")] == typed


# as nanochat's runs/speedrun.sh gives it to torchrun
NANOCHAT = """--standalone --nproc_per_node=8 -m scripts.base_train -- --depth=24 --target-param-data-ratio=8
    --device-batch-size=16 --fp8"""


def test_nanochats_own_command_line_and_its_recipe_start_the_same(others_programs: Path) -> None:
    recipe = ["@", str(ROOT / "configs" / "nanochat.toml")]
    typed, ours = (_torchrun(words, others_programs, "scripts.base") for words in (NANOCHAT.split(), recipe))
    of_program = NANOCHAT.split()[5:]
    assert typed[typed.index("-m") :] == ["-m", "--", "scripts.base_train", *of_program]
    assert ours[ours.index("-m") :] == [*typed[typed.index("-m") :], "--save-every=1000", "--model-tag=t"]
    assert "--nproc-per-node=8" in typed
    assert "--nproc-per-node=8" in ours


def test_areal_gets_all_gpus_and_writes_below_the_run() -> None:
    plan = plan_of(train("@", str(ROOT / "configs" / "areal.toml")), machine(gpus=8))
    (spec,) = plan.processes
    assert dict(spec.env)["CUDA_VISIBLE_DEVICES"] == "0,1,2,3,4,5,6,7"
    quickstart = "examples/math/gsm8k_rl.py --config examples/math/gsm8k_grpo.yaml scheduler.type=local"
    assert spec.argv[1:5] == tuple(quickstart.split())
    assert f"cluster.fileroot={plan.run.root}/areal" in spec.argv


def _torchrun(words: list[str], directory: Path, module: str = "torchtitan.train") -> list[str]:
    """The words after torchrun that `launch train` would type on eight GPUs."""
    command = [LAUNCH, "train", "--dry-run", "--name", "t", "--output-dir", str(directory / "out"), *words]
    paths = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{directory}:{ROOT}", "HOME": str(directory)}
    environment = {**paths, "CUDA_VISIBLE_DEVICES": "0,1,2,3,4,5,6,7"}
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.replace(" \\\n", " ").splitlines() if module in line]
    return line[line.index("torch.distributed.run") :].split()


def test_prime_rls_programs_start_with_the_files_of_its_dry_run_and_inference_has_the_first_gpus() -> None:
    here = machine(gpus=2, run_id="ab12", service_ports={"reverse-text": 5000})
    plan = plan_of(rl("@", str(ROOT / "configs" / "prime_rl.toml")), here)
    specs = {spec.name: spec for spec in plan.processes}
    written, dry_run = "/runs/otter/prime-rl/configs", " ".join(specs["configs"].argv)
    assert "--dry-run --output-dir /runs/otter --run.dir prime-rl --run.name otter" in dry_run
    assert "--inference.server.port 8000 --orchestrator.model.client.base-url http://localhost:8000/v1" in dry_run
    assert dry_run.endswith("--orchestrator.env-server-base-port 5000")
    for name in ("trainer", "orchestrator", "inference"):
        assert specs[name].argv[-2:] == ("@", f"{written}/{name}.json")
    assert specs["reverse-text"].argv == ("env-server", "@", f"{written}/envs/train/reverse-text.json")
    assert specs["reverse-text"].ready == "tcp://127.0.0.1:5000"
    assert (specs["inference"].gpus, specs["trainer"].gpus) == (("0",), ("1",))


def test_prime_rls_programs_share_one_run_of_wandb_and_have_its_variables() -> None:
    here = machine(gpus=2, run_id="ab12", service_ports={"reverse-text": 5000})
    plan = plan_of(rl("@", str(ROOT / "configs" / "prime_rl.toml")), here)
    env = {spec.name: spec.env for spec in plan.processes if spec.name != "configs"}
    common = {"PRL_RUN_ID": "ab12", "PRL_RUN_NAME": "otter", "CUDA_DEVICE_ORDER": "PCI_BUS_ID", "OMP_NUM_THREADS": "1"}
    assert all(common.items() <= own.items() for own in env.values())
    for name in ("trainer", "orchestrator"):
        shared = {"WANDB_SHARED_MODE": "1", "WANDB_RUN_ID": "ab12", "WANDB_SHARED_LABEL": name}
        assert shared.items() <= env[name].items()
    assert env["trainer"]["PYTORCH_CUDA_ALLOC_CONF"] == "expandable_segments:True"
    vllm = {"VLLM_WORKER_MULTIPROC_METHOD": "spawn", "VLLM_ENGINE_READY_TIMEOUT_S": "4200", "UCX_TLS": "all"}
    assert vllm.items() <= env["inference"].items()


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.name)
def test_its_schema_for_editors_is_that_of_its_command(config: Path) -> None:
    assert config.read_text().startswith(f"#:schema {_command(config)[0]}.schema.json\n")


@pytest.mark.slow
def test_the_own_trainer_runs(launch: Launcher) -> None:
    config = ROOT / "configs" / "own_trainer.toml"
    script = ROOT / "configs" / "own_trainer.py"
    run = launch("sft", "@", str(config), "--trainer.script", str(script), "--output-dir", "run", "--no-tmux")
    assert run.exit_code(120) == 0, run.output[-3000:]
    assert "[trainer0]:rank 0 step 20" in run.output
    assert (run.run.root / "linear.pt").exists()


def test_the_eight_gpu_node_gets_four_for_training_and_four_for_serving(others_programs: Path) -> None:
    command = [LAUNCH, "rl", "@", str(ROOT / "configs" / "rl_qwen3_4b_8gpu.toml"), "--dry-run"]
    path = f"{others_programs}:{Path(sys.executable).parent}"
    environment = {"CUDA_VISIBLE_DEVICES": "0,1,2,3,4,5,6,7", "PATH": path, "HOME": str(others_programs)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert "# trainer: GPU 0,1,2,3, 4 ranks under torchrun" in done.stdout
    assert "# inference: GPU 4,5,6,7" in done.stdout
    in_one_line = done.stdout.replace("\\\n    ", "")  # where it breaks depends on the run's name
    assert "vllm serve Qwen/Qwen3-4B " in in_one_line
