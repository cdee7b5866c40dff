"""The workload's processes as a person starts them, and an inference server inside the test."""

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers import PreTrainedModel

from launcher.config.serving import InferenceConfig
from launcher.config.workload import ModelConfig, TinyConfig
from launcher.rundir import RunDir
from launcher.workload.models.load import load_model
from launcher.workload.models.tiny import make_tiny
from launcher.workload.models.weights import save_weights, tensors_of
from launcher.workload.serving.engine import Engine
from launcher.workload.serving.http import Access
from launcher.workload.serving.server import Server, bind, load, make_app
from tests.waiting import until

SHAPE = TinyConfig(layers=1, dim=16, heads=2, context=32)
TINY = ModelConfig(tiny=SHAPE, device="cpu")
TINY_MODEL = ("--model.tiny.layers", "1", "--model.tiny.dim", "16", "--model.tiny.heads", "2")
TINY_MODEL += ("--model.tiny.context", "32")


def tiny(seed: int = 0, shape: TinyConfig = SHAPE) -> PreTrainedModel:
    """The model `tiny` in memory."""
    with tempfile.TemporaryDirectory() as directory:
        make_tiny(Path(directory) / "model", shape, seed)
        return load_model(str(Path(directory) / "model")).eval()


def publish(model: PreTrainedModel, directory: Path, **about: object) -> None:
    """Write a model's weights as the trainer hands them to a server."""
    save_weights(tensors_of(model), directory, **about)


@contextmanager
def started(module: str, *arguments: object, ranks: int | None = None) -> Iterator[subprocess.Popen[str]]:
    """A component, under torchrun if it has `ranks`; what is left of it afterwards is killed."""
    torchrun = ("torch.distributed.run", "--nproc-per-node", ranks, "--rdzv-backend", "c10d")
    launcher = () if ranks is None else (*torchrun, "--rdzv-endpoint", "localhost:0", "-m")
    argv = [sys.executable, "-m", *map(str, (*launcher, f"launcher.workload.{module}", *arguments))]
    env = {name: value for name, value in os.environ.items() if not name.startswith("LAUNCH_")}
    process = subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env | {"OMP_NUM_THREADS": "1"}
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def finished(module: str, *arguments: object, ranks: int | None = None, exit_code: int = 0) -> str:
    """What a component has written, once it has ended with this exit code."""
    with started(module, *arguments, ranks=ranks) as process:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == exit_code, output
        return output


@contextmanager
def serving(
    shape: TinyConfig = SHAPE,
    max_batch: int = 64,
    weights: Path = Path("/"),
    token: str | None = None,
    grace: float = 5.0,
    port: int = 0,
) -> Iterator[tuple[str, Engine]]:
    """An inference server at a URL, and its engine; `weights` is the directory below which updates may lie."""
    with tempfile.TemporaryDirectory() as directory:
        make_tiny(Path(directory) / "model", shape, seed=0)
        config = InferenceConfig.model_validate({"model": {"device": "cpu"}, "max_batch": max_batch})
        engine, text = load(str(Path(directory) / "model"), config)
    listener = bind("127.0.0.1", port)
    server = Server(engine, make_app(engine, text, "policy", Access(weights, "127.0.0.1", token)), grace)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        until(lambda: server.started)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", engine
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        listener.close()


def has_step(metrics: Path, step: int) -> bool:
    """Whether a metrics file has come to a step."""
    return metrics.exists() and f'"step": {step},' in metrics.read_text()


def model_bytes(run: RunDir, step: int) -> bytes:
    return (run.checkpoint(step) / "model.safetensors").read_bytes()
