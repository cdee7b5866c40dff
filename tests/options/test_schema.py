"""The JSON schema takes what launch takes, and marks what it refuses."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from launcher.config.run import KINDS, RLConfig
from launcher.config.toml import to_toml
from launcher.options.schema import schema_of
from tests.config.test_toml import request
from tests.plans import rl, typed

jsonschema: Any = pytest.importorskip("jsonschema")  # in the extra `test`

CONFIGS = Path(__file__).parent.parent.parent / "configs"
MODELS: dict[str, Any] = {**KINDS}


def mistakes(text: str, kind: str = "rl") -> list[str]:
    check = jsonschema.Draft202012Validator(schema_of(MODELS[kind], kind))
    return [str(error.message) for error in check.iter_errors(tomllib.loads(text))]


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.name)
def test_the_recipes_are_right(path: Path) -> None:
    text = path.read_text()
    assert mistakes(text, text.split("# launch ")[1].split()[0]) == []


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("seed", range(5))
def test_what_a_run_keeps_is_right(kind: str, seed: int) -> None:
    assert mistakes(to_toml(typed(MODELS[kind], *request(MODELS[kind], seed))), kind) == []


@pytest.mark.parametrize(
    "text",
    [
        "wandb = false",
        "wandb = true\nslurm = true",
        "[wandb]\nlog_extras = false",
        'grace = "1h30m"\nwatchdog = 5',
        "[trainer.torchrun]\nlocal_ranks_filter = [0, 2]\nnnodes = 2\nredirects = 3",
        '[trainer.torchrun]\nlocal_ranks_filter = "0,2"',
        '[slurm]\ntime = 30\ngpus_per_node = "h100:8"',
        '[services.judge]\ncommand = ["judge"]\nready_timeout = "2m"',
    ],
)
def test_every_way_of_writing_is_taken(text: str) -> None:
    assert mistakes(text) == []


@pytest.mark.parametrize(
    "text",
    ["max_stesp = 3", 'max_steps = "x"', "trainer = false", "[trainer]\nparallel = 'magic'", "[services.a]\ngpus = 1"],
)
def test_a_mistake_is_marked(text: str) -> None:
    assert mistakes(text) != []


def test_every_field_has_its_text() -> None:
    schema = schema_of(RLConfig, "rl")
    assert schema["properties"]["grace"]["description"].startswith("time between SIGTERM")
    assert "title" not in schema["properties"]["grace"] and rl().grace == schema["properties"]["grace"]["default"]
