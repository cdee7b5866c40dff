"""`launch` with a model and a data set of the Hugging Face hub, which is one of the tests' own."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.config.workload import TinyConfig
from launcher.workload.models.tiny import make_tiny
from tests.hub_server import Hub, serving
from tests.launching import Launcher

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PATIENCE = 400  # seconds, of a machine that does other things as well
SHAPE = TinyConfig(layers=1, dim=32, heads=2, context=64)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    make_tiny(tmp_path / "model", SHAPE, 0)
    (tmp_path / "data").mkdir()
    pairs = [{"prompt": f"{number}>", "completion": f"{number}"[::-1]} for number in range(100)]
    (tmp_path / "data" / "train.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    with serving({"acme/model": tmp_path / "model"}, {"acme/pairs": tmp_path / "data"}) as server:
        yield server


def test_sft_learns_a_data_set_of_the_hub_and_again_without_a_network(
    launch: Launcher, hub: Hub, tmp_path: Path
) -> None:
    pytest.importorskip("datasets")
    words = ("sft", "--model", "acme/model", "--trainer.data.dataset", "acme/pairs", "--no-tmux", "--max-steps", "2")
    variables = hub.environment(tmp_path / "cache")
    run = launch(*words, "--output-dir", "run", **variables)
    assert run.exit_code(PATIENCE) == 0, run.output[-3000:]
    assert "step 2/2" in run.output and "HTTP" not in run.output
    assert {"acme/model/model.safetensors", "acme/pairs/train.jsonl"} <= set(hub.served)
    hub.served.clear()  # the components are told by HF_HUB_OFFLINE
    run = launch(*words, "--output-dir", "again", **variables | {"HF_ENDPOINT": "http://127.0.0.1:9"})
    assert run.exit_code(PATIENCE) == 0, run.output[-3000:]
    assert hub.served == []
    assert "cannot be reached at http://127.0.0.1:9, so the cache is used: acme/model, acme/pairs" in run.output
    assert "Retrying" not in run.output  # as the libraries do, for half a minute a file


def test_rl_starts_from_a_model_of_the_hub(launch: Launcher, hub: Hub, tmp_path: Path) -> None:
    small = ("--orchestrator.prompts-per-step", "4", "--orchestrator.evaluation.prompts", "4", "--max-steps", "2")
    words = ("rl", "--model", "acme/model", "--inference.engine", "builtin", "--no-tmux", *small)
    run = launch(*words, "--output-dir", "run", **hub.environment(tmp_path / "cache"))
    assert run.exit_code(PATIENCE) == 0, run.output[-3000:]
    assert "step 2/2" in run.output
    (saved,) = (tmp_path / "cache" / "hub").glob("models--*/snapshots/*/config.json")
    written = json.loads((run.run.checkpoint(2) / "config.json").read_text())
    assert written["n_embd"] == json.loads(saved.read_text())["n_embd"] == SHAPE.dim
