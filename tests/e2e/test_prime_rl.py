"""The recipe of prime-rl, as far as it runs without a GPU. LAUNCH_TEST_PRIME_RL names a checkout of it.

Its Python must have what prime-rl's configuration needs: verifiers, renderers, setproctitle and psutil.
prime-rl's own `rl --dry-run` writes the files, and its own env-server serves an environment. Stand-ins take the place
of its inference, orchestrator and trainer, which need GPU packages. They read their files by prime-rl's own classes,
and log with its own logger. test_prime_rl_orchestrator.py runs the inference and the orchestrator themselves.
"""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.launching import Launched, Launcher
from tests.several_nodes import free_port

ROOT = Path(__file__).parents[2]
CHECKOUT = Path(os.environ.get("LAUNCH_TEST_PRIME_RL") or "prime-rl").resolve()
RL_TOML = Path("configs", "basic", "reverse-text", "rl.toml")
CONFIGS = CHECKOUT / "packages" / "prime-rl-configs" / "src"
NEEDED = ("verifiers", "renderers", "setproctitle", "psutil", "pydantic_config")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not (CHECKOUT / RL_TOML).exists(), reason="LAUNCH_TEST_PRIME_RL names no checkout of prime-rl"),
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in NEEDED), reason=f"needs {', '.join(NEEDED)}"
    ),
]

VERSION = ["git", "-C", str(CHECKOUT), "log", "-1", "--abbrev=8", "--date=short", "--format=commit %h, %cd"]
COMMIT = subprocess.run(VERSION, capture_output=True, text=True).stdout.strip()

PROGRAM = '#!/bin/sh\nexec python -m prime_rl.entrypoints.{} "$@"\n'
STAND_IN = '#!/bin/sh\nexec python "$(dirname "$0")/{}.py" "$@"\n'
NOTE = """
import json, os
from pathlib import Path
from prime_rl.utils.config import cli
from prime_rl.utils.logger import format_time, get_logger, setup_logger
setup_logger("info")
def note(name):
    Path(os.environ["LAUNCH_RUN_DIR"], name + ".json").write_text(json.dumps(dict(os.environ)))
"""
INFERENCE = f"""{NOTE}
from http.server import BaseHTTPRequestHandler, HTTPServer
from prime_rl.configs.inference import InferenceConfig
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *words): pass
config = cli(InferenceConfig)
note("inference")
HTTPServer(("127.0.0.1", config.server.port), Handler).serve_forever()
"""
# the lines as in prime-rl's orchestrator.py and train.py
ORCHESTRATOR = f"""{NOTE}
import socket
from prime_rl.configs.orchestrator import OrchestratorConfig
config = cli(OrchestratorConfig)
note("orchestrator")
for address in config.env_addresses.values():
    host, port = address.removeprefix("tcp://").split(":")
    socket.create_connection((host, int(port)), 5).close()
resumed = 3 if config.resume else 0
for step in range(resumed + 1, resumed + 4):
    get_logger().success(
        f"Step {{step}} | {{format_time(step * 30):>7}} | Reward {{step / 10:.4f}} | Trainable 3/4 (75.0%) | "
        f"Turns {{1.5:.1f}} | Branches 1.0 | Max Off-Policy 0 | Error {{0.25:.1%}} | Cancelled 0.0% | Truncation 0.0%"
    )
"""
TRAINER = f"""{NOTE}
from prime_rl.configs.trainer import TrainerConfig
config = cli(TrainerConfig)
note("trainer")
for step in range(1, 4):
    get_logger().info(f"Micro Step {{step}}/4 | Loss 9.0000 | Entropy 9.0000")
    get_logger().success(
        f"Step {{step}} | {{format_time(step * 30):>7}} | Loss {{step / 100:.4f}} | Entropy 0.5000 | "
        f"Mismatch KL 0.0010 | Grad. Norm {{0.75:.4f}} | LR 3.00e-06 | Throughput 12 tokens/s"
    )
"""


@pytest.fixture
def start(launch: Launcher) -> Launcher:
    """A launcher beside prime-rl's rl.toml, for an environment of ours, that finds programs of prime-rl's names."""
    directory, programs = launch.directory, launch.directory / "bin"
    (directory / RL_TOML).parent.mkdir(parents=True)
    text = (CHECKOUT / RL_TOML).read_text()
    (directory / RL_TOML).write_text(text.replace('\nid = "reverse-text"', '\nid = "reverse-chat"'))
    programs.mkdir()
    scripts = {"rl": PROGRAM.format("rl"), "env-server": PROGRAM.format("env_server")}
    scripts |= {name: STAND_IN.format(name) for name in ("inference", "orchestrator")}
    for name, script in scripts.items():
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
    (programs / "inference.py").write_text(INFERENCE)
    (programs / "orchestrator.py").write_text(ORCHESTRATOR)
    (directory / "stand_in_trainer.py").write_text(TRAINER)
    own = (CONFIGS, CHECKOUT / "src", ROOT / "tests" / "environments", directory)
    launch.environment["PYTHONPATH"] = ":".join([*map(str, own), os.environ.get("PYTHONPATH", "")])
    launch.environment["PATH"] = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return launch


def recipe(launch: Launcher) -> Launched:
    port = str(free_port())
    trainer = ("--trainer.module", "stand_in_trainer", "--inference.port", port)
    return launch("rl", "@", str(ROOT / "configs" / "prime_rl.toml"), "--output-dir", "run", "--no-tmux", *trainer)


def written(run: Launched, name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads((run.run.root / name).read_text())
    return found


def metrics(run: Launched, component: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in run.run.metrics(component).read_text().splitlines()]


@pytest.mark.runs("prime-rl's `rl --dry-run` and env-server", COMMIT, "configs/prime_rl.toml")
def test_its_dry_run_writes_the_files_its_env_server_serves_and_its_steps_are_read(start: Launcher) -> None:
    run = recipe(start)
    assert run.exit_code(300) == 0, run.output[-3000:]
    assert "EnvServerPool up" in run.run.component_log("reverse-text").read_text()
    assert written(run, "prime-rl/configs/trainer.json")["resume"] is None
    rewards = [(line["step"], line["reward"], line["turns"], line["error"]) for line in metrics(run, "orchestrator")]
    assert rewards == [(1, 0.1, 1.5, 25.0), (2, 0.2, 1.5, 25.0), (3, 0.3, 1.5, 25.0)]
    losses = [(line["step"], line["loss"], line["grad_norm"]) for line in metrics(run, "trainer")]
    assert losses == [(1, 0.01, 0.75), (2, 0.02, 0.75), (3, 0.03, 0.75)]
    seen = [written(run, f"{name}.json") for name in ("orchestrator", "trainer")]
    assert {env["WANDB_RUN_ID"] for env in seen} == {seen[0]["PRL_RUN_ID"]}
    assert [env["WANDB_SHARED_LABEL"] for env in seen] == ["orchestrator", "trainer"]
    assert written(run, "inference.json")["PRL_RUN_ID"] == seen[0]["PRL_RUN_ID"]
    resumed = start("resume", "run", "--no-tmux")
    assert resumed.exit_code(300) == 0, resumed.output[-3000:]
    assert written(run, "prime-rl/configs/trainer.json")["resume"] == {"step": None, "dir": None}
    assert [line["step"] for line in metrics(run, "orchestrator")] == [1, 2, 3, 4, 5, 6]
    assert written(run, "trainer.json")["WANDB_RUN_ID"] == seen[0]["WANDB_RUN_ID"]


def test_its_help_has_every_option_that_the_page_and_the_recipe_name(start: Launcher) -> None:
    page = (ROOT / "docs" / "from-prime-rl.md").read_text()
    cells = [row.split(" | ")[0] for row in page.splitlines() if row.startswith("| `")]
    recipe = (ROOT / "configs" / "prime_rl.toml").read_text().partition("[services.reverse-text]")[0]
    named = set(re.findall(r"--[a-z][\w.-]+", "\n".join([*cells, recipe])))
    assert {"--run.name", "--resume", "--orchestrator.env-server-base-port"} <= named
    done = subprocess.run(["rl", "--help"], env=start.environment, cwd=start.directory, capture_output=True, text=True)
    known = set(re.findall(r"--[a-z][\w.-]+", done.stdout))
    sections = {name[:end] for name in known for end in range(len(name)) if name[end] == "."}  # a bare --resume, --ckpt
    assert named <= known | sections, done.stderr
