"""`launch restart`: which words are the run and the component. The restart itself is in e2e/test_restart.py."""

from pathlib import Path

import pytest

from tests.commands.terminal import Terminal
from tests.runs.test_choice import a_run

pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture
def launch(capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(capsys)


def test_help_shows_that_the_run_may_be_left_out_and_the_component_may_not(launch: Terminal) -> None:
    shown = launch("restart", "--help")
    assert shown.startswith("Usage: launch restart [OPTIONS] [RUN] COMPONENT\n")
    run, component = shown.partition("  [RUN] ")[2].split("\n  COMPONENT ", 1)
    assert "[required]" not in run and "default: the only live one" in run
    assert "[required]" in component.partition("\n")[0]


@pytest.mark.parametrize(
    "words", [["nobody"], ["--trust", "nobody"], ["--", "nobody"], ["otter", "nobody"]], ids=" ".join
)
def test_a_single_word_is_the_component_of_the_only_live_run(launch: Terminal, here: Path, words: list[str]) -> None:
    a_run(here / "outputs" / "otter")
    assert "otter has no component 'nobody' here" in launch("restart", *words, exit_code=2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "COMPONENT is missing\n  type it: launch restart [RUN] COMPONENT"),
        (["", "nobody"], "there is no run ''"),
        (["otter", "nobody", "more"], "too many arguments: more"),
    ],
    ids=["no word", "an empty run", "three words"],
)
def test_a_wrong_request_is_one_message(launch: Terminal, here: Path, words: list[str], said: str) -> None:
    a_run(here / "outputs" / "otter")
    assert said in launch("restart", *words, exit_code=2)
