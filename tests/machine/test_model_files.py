import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from launcher.errors import UserError
from launcher.machine.model_files import INDEX, WEIGHTS, check_model_files
from launcher.workload.models.tiny import make_tiny
from tests.workload.running import SHAPE


@pytest.fixture
def model(tmp_path: Path) -> Path:
    make_tiny(tmp_path / "model", SHAPE, seed=0)
    return tmp_path / "model"


def refused(model: Path) -> str:
    with pytest.raises(UserError) as error:
        check_model_files(model)
    return error.value.message


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def in_parts(model: Path) -> None:
    """The weights of a large model are in several files."""
    (model / WEIGHTS).unlink()
    (model / INDEX).write_text(json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}))
    for name in ("a", "b"):
        save_file({name: np.zeros(3)}, model / f"model-{1 if name == 'a' else 2}.safetensors")


def test_a_whole_model_is_taken(model: Path) -> None:
    check_model_files(model)
    in_parts(model)
    check_model_files(model)


@pytest.mark.parametrize(("what", "missing"), [("weights", WEIGHTS), ("tokenizer", "tokenizer*")])
def test_a_model_without_weights_or_tokenizer_is_refused(model: Path, what: str, missing: str) -> None:
    for path in model.glob(missing):
        path.unlink()
    assert f"has no {what}" in refused(model)


@pytest.mark.parametrize("length", [0, 5, 200, -1])
def test_weights_that_were_cut_short_are_refused(model: Path, length: int) -> None:
    whole = (model / WEIGHTS).read_bytes()
    (model / WEIGHTS).write_bytes(whole[:length])
    assert str(model / WEIGHTS) in refused(model)


def test_a_part_of_the_weights_that_is_missing_is_named(model: Path) -> None:
    in_parts(model)
    (model / "model-2.safetensors").unlink()
    assert "has no model-2.safetensors" in refused(model)


@pytest.mark.parametrize("content", ["", '{"model_type": ', "[]"])
def test_a_config_that_is_no_object_is_refused(model: Path, content: str) -> None:
    (model / "config.json").write_text(content)
    assert str(model / "config.json") in refused(model)


def test_the_tokenizer_of_another_model_is_refused(model: Path) -> None:
    change(model / "config.json", vocab_size=100)
    assert refused(model).endswith("makes token 255, but the model's vocabulary has 100")


def test_added_tokens_that_the_model_does_not_know_are_no_reason(model: Path) -> None:
    change(model / "config.json", vocab_size=256)  # without the end token, which is an added one
    check_model_files(model)
