import json
from pathlib import Path

import pytest
import torch
from launcher.workload.weights import build_model, find_checkpoint, load_weights, save_model

from launcher.config.workload import ModelConfig
from launcher.errors import UserError
from launcher.rundir import RunDir
from tests.workload.running import TINY


def weights_equal(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_the_first_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(99)
    assert weights_equal(build_model(TINY, 1), build_model(TINY, 1))
    assert not weights_equal(build_model(TINY, 1), build_model(TINY, 2))


def test_a_model_takes_its_shape_from_the_checkpoint(tmp_path: Path) -> None:
    model = build_model(TINY, 1)
    save_model(model, tmp_path)
    loaded = build_model(ModelConfig(layers=3, dim=64, checkpoint=tmp_path), 5)
    assert loaded.shape == model.shape and weights_equal(loaded, model)


def test_a_runs_directory_stands_for_its_newest_checkpoint(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    for step in (5, 10, 9):
        save_model(build_model(TINY, step), run.checkpoint(step))
    assert find_checkpoint(tmp_path) == run.checkpoint(10)


def test_a_missing_checkpoint_says_what_may_be_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no checkpoint at") as refused:
        build_model(ModelConfig(checkpoint=tmp_path / "none"), 0)
    assert "output directory of a run" in str(refused.value)


def test_weights_of_another_shape_are_refused_with_both_shapes(tmp_path: Path) -> None:
    save_model(build_model(TINY.model_copy(update={"dim": 32}), 0), tmp_path)
    with pytest.raises(UserError, match=r"does not fit.*dim=32.*dim=16"):
        load_weights(build_model(TINY, 0), tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_broken_checkpoint_names_the_broken_file(tmp_path: Path, name: str) -> None:
    save_model(build_model(TINY, 0), tmp_path)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:20])
    with pytest.raises(UserError, match=name):
        build_model(ModelConfig(checkpoint=tmp_path), 0)


def test_a_checkpoint_whose_config_lies_is_refused(tmp_path: Path) -> None:
    save_model(build_model(TINY, 0), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"layers": 2}))
    with pytest.raises(UserError, match="does not fit: missing there, or not in the model: blocks"):
        build_model(ModelConfig(checkpoint=tmp_path), 0)


def test_a_width_that_heads_cannot_share_is_refused() -> None:
    with pytest.raises(UserError, match=r"not a multiple of model\.heads"):
        build_model(TINY.model_copy(update={"heads": 3}), 0)


def test_the_arithmetic_can_be_bfloat16() -> None:
    model = build_model(TINY.model_copy(update={"dtype": "bfloat16"}), 0)
    assert model(torch.tensor([[1, 2, 3]])).dtype == torch.bfloat16
