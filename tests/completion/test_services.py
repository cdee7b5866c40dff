"""Tab after `--services.NAME.`, whose NAME is whatever the user calls it."""

import os
from pathlib import Path

import pytest

from launcher.completion.services import metavar, service_options
from tests.children import run_python
from tests.completion.test_answer import after, cache, pressed

__all__ = ["cache"]
pytestmark = pytest.mark.usefixtures("here", "cache")

FIELDS = {"command": ("the command line", "TEXT"), "may-exit": ("it may end", "")}
REDIS = ["--services.redis.command", "--services.redis.may-exit", "--no-services.redis.may-exit"]


def offered(*before: str, incomplete: str = "--services.") -> list[str]:
    return list(service_options(FIELDS, {"trainer": ""}, before, incomplete))


def test_the_fields_of_a_service_are_offered_after_its_name() -> None:
    assert after("rl", incomplete="--services.redis.co") == ["--services.redis.command"]
    assert after("train", incomplete="--services.my.db.may") == ["--services.my.db.may-exit"]
    assert after("sft", incomplete="--no-services.redis.") == [
        "--no-services.redis.share-gpus",
        "--no-services.redis.may-exit",
    ]
    assert "--services.redis.port" in after("resume", "otter", incomplete="--services.redis.")


@pytest.mark.parametrize(
    "word", ["--services.redis.command", "--services.redis.command=x", "--no-services.redis.may-exit"]
)
def test_a_name_is_known_from_the_options_before(word: str) -> None:
    assert offered(word, "x") == REDIS


@pytest.mark.parametrize(
    "words", [["@", "run.toml"], ["@run.toml"], ["@", "~/run.toml"], ["--grace", "5s", "@", "run.toml"]]
)
def test_a_name_is_known_from_a_file(here: Path, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(here))
    (here / "run.toml").write_text('[services.redis]\ncommand = ["redis-server"]\n')
    assert offered(*words) == REDIS


def test_a_file_of_a_section_has_no_services_of_the_run(here: Path) -> None:
    (here / "trainer.toml").write_text("[services.redis]\n")
    assert offered("--trainer", "@", "trainer.toml") == []


@pytest.mark.parametrize("text", ["[services.", "services = 3", "[a]", "\x00", '[services."$(touch x)"]'])
def test_a_file_without_services_that_can_be_typed_offers_none(here: Path, text: str) -> None:
    (here / "run.toml").write_text(text)
    os.mkfifo(here / "pipe.toml")
    assert offered("@", "run.toml", "@", "pipe.toml", "@", "missing.toml", "@") == []


def test_no_file_is_read_for_another_option(here: Path) -> None:
    (here / "run.toml").write_text("[services.redis]\n")
    assert offered("@", "run.toml", incomplete="--trainer.") == []
    code = "import sys\nfrom launcher.completion.services import service_options"
    code += "\nservice_options({}, {}, ['@', 'run.toml'], '--trainer')\nprint('tomllib' in sys.modules)"
    assert run_python(code, Path(__file__).parent.parent.parent).stdout == "False\n"


def test_the_choices_of_a_field_are_offered_and_what_takes_a_value_is_known() -> None:
    assert after("rl", "--services.redis.restart") == ["never", "on-failure"]
    assert metavar(FIELDS, "--services.a.may_exit") == ""
    assert metavar(FIELDS, "--services.a.unknown") == "TEXT"


def test_a_shell_gets_them(here: Path) -> None:
    (here / "run.toml").write_text("[services.judge]\n")
    assert "--services.judge.command\n" in pressed("launch rl @ run.toml --services.")
    assert "--services.judge.ready" in pressed("launch rl @ run.toml --services.j", "zsh")
