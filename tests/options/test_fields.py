"""The flat list of fields that options, help and documents are made from."""

from collections import Counter

import pytest

from launcher.config.base import Section
from launcher.config.rollout import OrchestratorConfig
from launcher.config.run import RLConfig, SFTConfig
from launcher.config.serving import InferenceConfig
from launcher.config.training import RLTrainerConfig, SFTTrainerConfig
from launcher.options.fields import ConfigField, Form, config_fields
from launcher.options.flags import option_names, parameter_name

MODELS = [RLConfig, SFTConfig, RLTrainerConfig, SFTTrainerConfig, OrchestratorConfig, InferenceConfig]
each_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)


def found(model: type[Section], option: str) -> ConfigField:
    return next(field for field in config_fields(model) if field.option == option)


@each_model
def test_no_two_fields_share_an_option_or_a_parameter(model: type[Section]) -> None:
    fields = list(config_fields(model))
    names = Counter(name for field in fields for name in option_names(field))
    names.update(f"no-{name}" for field in fields if field.shape is Form.FLAG for name in option_names(field))
    assert [name for name, count in names.items() if count > 1] == []
    assert len({parameter_name(field) for field in fields}) == len(fields)


@each_model
def test_every_field_has_a_description(model: type[Section]) -> None:
    assert [field.option for field in config_fields(model) if not field.help] == []


@pytest.mark.parametrize(
    ("option", "shape", "metavar"),
    [
        ("wandb", Form.FLAG, "TEXT"),
        ("wandb.log-extras", Form.FLAG, "TEXT"),
        ("trainer.wandb.log-extras.distributions", Form.FLAG, "TEXT"),
        ("orchestrator.wandb.log-extras.interval", Form.VALUE, "INTEGER"),
        ("inference", Form.FLAG, "TEXT"),
        ("tmux", Form.FLAG, "TEXT"),
        ("grace", Form.VALUE, "DURATION"),
        ("log.json", Form.FLAG, "TEXT"),
        ("on-hangup", Form.VALUE, "continue|stop"),
        ("trainer.args", Form.MANY, "TEXT"),
        ("trainer.env", Form.PAIRS, "KEY=VALUE"),
        ("trainer.nproc", Form.VALUE, "INTEGER"),
        ("trainer.script", Form.VALUE, "PATH"),
        ("trainer.torchrun.local-ranks-filter", Form.MANY, "RANK[,RANK]"),
        ("trainer.optimizer.lr", Form.VALUE, "NUMBER"),
    ],
)
def test_a_field_is_written_as_its_type_suggests(option: str, shape: Form, metavar: str) -> None:
    field = found(RLConfig, option)
    assert field.shape is shape
    assert shape is Form.FLAG or field.metavar == metavar


def test_a_section_that_may_be_absent_has_its_own_name_as_its_option() -> None:
    assert found(RLConfig, "wandb").path == ("wandb", "enabled")


def test_only_a_components_own_wandb_is_inherited_from_the_run() -> None:
    inherited = {field.path[0] for field in config_fields(RLConfig) if field.inherited}
    assert inherited == {"trainer", "orchestrator"}
    assert not found(RLConfig, "wandb.project").inherited
