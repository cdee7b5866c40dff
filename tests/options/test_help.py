"""--help: every option, its description and its default, within 80 columns."""

import re

import pytest

from launcher.config.base import Section
from launcher.config.run import RLConfig
from launcher.options.fields import config_fields
from launcher.options.flags import option_names
from launcher.options.help import default_text, options_help, usage
from tests.options.test_fields import each_model, found

NARROW = 80


def names_in(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--([\w.-]+)", text))


@each_model
def test_every_fields_options_stand_in_the_help_and_none_is_cut_off(model: type[Section]) -> None:
    names = {name for field in config_fields(model) for name in option_names(field)}
    assert names - names_in(options_help(model)) == set()


@each_model
def test_no_line_is_longer_than_a_narrow_terminal(model: type[Section]) -> None:
    assert [line for line in options_help(model).splitlines() if len(line) > NARROW] == []


@each_model
def test_every_description_stands_below_its_option(model: type[Section]) -> None:
    flowing = " ".join(options_help(model).split())
    missing = [field.option for field in config_fields(model) if f"{usage(field)} {field.help}" not in flowing]
    assert missing == []


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("grace", "30s"),
        ("wandb", "off"),
        ("tmux", "on"),
        ("wandb.project", "prime-rl"),
        ("trainer.wandb.project", ""),  # inherited
        ("trainer.torchrun.local-ranks-filter", "0"),
        ("trainer.torchrun.tee", "3"),
        ("seed", "0"),
        ("name", ""),
        ("trainer.env", ""),
    ],
)
def test_a_default_is_shown_as_a_person_would_write_it(option: str, text: str) -> None:
    assert default_text(found(RLConfig, option)) == text


def test_what_is_often_typed_comes_before_the_sections() -> None:
    often = options_help(RLConfig).split("\n[", maxsplit=1)[0]
    assert {"nproc", "filter-rank", "log-dir", "redirects", "tee", "name", "output-dir"} <= names_in(often)
