"""--help: every option, its description and its default, within 80 columns."""

import re

import pytest

from launcher import cli
from launcher.borders.help_style import styled, tidied
from launcher.commands.starting.run_command import _EXAMPLES, _OFTEN
from launcher.config.base import Section
from launcher.config.run import RLConfig
from launcher.options.fields import config_fields
from launcher.options.flags import option_names
from launcher.options.help import default_text, options_help, usage
from tests.options.test_fields import each_model, found
from tests.plans import rl, sft

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


def test_no_option_is_shown_that_says_no_twice() -> None:
    assert "no-no-" not in options_help(RLConfig)
    assert sft("--trainer.script", "a.py", "--no-python", "--no-no-python").trainer.torchrun.no_python is False


# --- on one screen ----------------------------------------------------------------------------------------------------


def help_of(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli._exit_code(list(arguments)) in (0, None)
    return capfd.readouterr().out


@pytest.mark.parametrize("kind", ["rl", "sft", "train"])
def test_the_help_is_one_screen_with_five_examples_and_where_the_rest_is(
    kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    lines = help_of(capfd, kind, "--help").splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= NARROW
    assert sum(line.startswith(f"  launch {kind} ") for line in lines) == 5
    assert any(line.endswith(f"launch {kind} --help-all") for line in lines)
    assert help_of(capfd, kind, "--help-all").count("\n") > 200


@pytest.mark.parametrize("kind", ["rl", "sft", "train"])
def test_the_texts_of_the_short_help_stand_in_one_column_two_spaces_after_the_longest_name(
    kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    texts = [*_EXAMPLES[kind].values(), *_OFTEN.values()]
    rows = [line for line in help_of(capfd, kind, "--help").splitlines() if re.match(r"  \S", line)]
    found = {line.rindex(text) for line in rows for text in texts if line.endswith(f"  {text}")}
    assert len(found) == 1
    assert sum(line.endswith(tuple(f"  {text}" for text in texts)) for line in rows) == len(rows)


def test_what_the_short_help_shows_exists() -> None:
    """`model`, `task` and `data` are options of the workload's, which are passed over where it has none."""
    names = {name for field in config_fields(RLConfig) for name in option_names(field)} | {"dry-run", "detach", "clean"}
    shown = {words.split()[0] for words in _OFTEN}
    assert {word if word in names else word.removeprefix("no-") for word in shown} - names <= {"model", "task", "data"}


@pytest.mark.parametrize("kind", ["rl", "sft", "train"])
def test_every_example_is_a_command_line_that_is_understood(kind: str) -> None:
    for example in _EXAMPLES[kind]:
        arguments = [word for word in example.split()[2:] if word not in ("--dry-run", "--detach")]
        assert (rl if kind == "rl" else sft)(*arguments)


@pytest.mark.parametrize("typed", [("--help", "wandb"), ("--help=wandb",)])
def test_the_help_of_a_section_has_its_options_and_no_others(
    typed: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    names = names_in(help_of(capfd, "rl", *typed))
    assert {"wandb", "wandb.project", "wandb.log-extras.interval"} <= names
    assert all(name.removeprefix("no-").split(".")[0] == "wandb" for name in names)


def test_a_section_that_does_not_exist_is_answered_with_those_that_do(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli._exit_code(["sft", "--help", "wanbd"]) == 2
    assert "the sections are k8s, log, notify, slurm, task, tmux, trainer, wandb" in capfd.readouterr().err


def test_colours_are_for_terminals_that_may_have_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    text = "Options:\n  --name, -n NAME   the name\n  status   the runs\n"
    assert styled(text) == (
        "\x1b[1mOptions:\x1b[0m\n  \x1b[36m--name, -n\x1b[0m NAME   the name\n  \x1b[36mstatus\x1b[0m   the runs\n"
    )
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        with monkeypatch.context() as user:
            user.setenv(name, value)
            assert styled(text) == text


@pytest.mark.parametrize("command", [name for name in cli.COMMANDS if name not in ("rl", "sft", "train", "resume")])
def test_a_command_has_no_types_of_python_in_its_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli._exit_code([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert not re.search(r"<(list|int|str|float|path)|\[\[|\{|x>=", shown), shown
    assert max(map(len, shown.splitlines())) <= NARROW


def test_what_replaces_a_type_is_as_wide() -> None:
    before = "Usage: launch x [OPTIONS] {A} [[RUN]]\n  A <str>  a\n  -n <int range>  b  [x>=1]\n  --level <str>   c"
    after = "Usage: launch x [OPTIONS] A [RUN]\n  A        a\n  -n N            b\n  --level TEXT    c"
    assert tidied(before) == after
