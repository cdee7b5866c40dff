import json
from pathlib import Path

import pytest

from launcher.config.workload import TinyConfig
from launcher.machine.chat_template import has_chat_template
from launcher.workload.models.tiny import make_tiny


@pytest.fixture
def model(tmp_path: Path) -> Path:
    make_tiny(tmp_path / "model", TinyConfig(dim=8), seed=0)
    return tmp_path / "model"


def without_template(model: Path) -> Path:
    path = model / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    del settings["chat_template"]
    path.write_text(json.dumps(settings))
    return model


def test_a_template_is_found_among_the_tokenizers_settings(model: Path) -> None:
    assert has_chat_template(str(model))


def test_a_template_is_found_in_a_file_of_its_own(model: Path) -> None:
    (without_template(model) / "chat_template.jinja").write_text("")
    assert has_chat_template(str(model))


def test_a_model_without_one_is_known(model: Path) -> None:
    assert has_chat_template(str(without_template(model))) is False


def test_nothing_is_said_of_a_model_that_is_not_here_or_cannot_be_read(model: Path) -> None:
    assert has_chat_template("somebody/something") is None
    (model / "tokenizer_config.json").write_text("{")
    assert has_chat_template(str(model)) is None
