"""`launch config`: what applies, and where it was set."""

import os
import tomllib
from pathlib import Path

import pytest

from launcher.errors import UserError
from launcher.options.load import read_file
from tests.commands.terminal import Terminal
from tests.runs.test_choice import a_run

CONFIGS = Path(__file__).parent.parent.parent / "configs"

pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture
def launch(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Terminal:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    return Terminal(capsys)


def line_of(text: str, key: str) -> str:
    return next(" ".join(line.split()) for line in text.splitlines() if line.startswith(f"{key} = "))


def test_each_value_of_a_request_has_its_origin(launch: Terminal, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "my.toml").write_text("# x\nmax_steps = 7\n")
    monkeypatch.setenv("WANDB_PROJECT", "there")
    shown = launch("config", "rl", "@", "my.toml", "--grace", "90m", "--wandb")
    assert line_of(shown, "max_steps") == "max_steps = 7 # my.toml:2"
    assert line_of(shown, "grace") == 'grace = "90m" # --grace'
    assert line_of(shown, "seed") == "seed = 0 # default"
    assert line_of(shown, "project") == 'project = "there" # WANDB_PROJECT'
    assert tomllib.loads(shown)["max_steps"] == 7


def test_what_is_shown_can_be_started_from(launch: Terminal, here: Path) -> None:
    shown = launch("config", "sft", "--nproc", "2", "--trainer.env", "A=b  # c", "--no-tmux")
    (here / "again.toml").write_text(shown)
    assert tomllib.loads(launch("config", "sft", "@", "again.toml")) == tomllib.loads(shown)


def test_the_value_of_a_secret_argument_is_masked(launch: Terminal) -> None:
    shown = launch("config", "train", "train.py", "--hf-token", "geheim")
    assert tomllib.loads(shown)["trainer"]["args"] == ["--hf-token", "***"]


@pytest.mark.parametrize("words", [["--hf-token", "x"], ["--api-key=x"], ["API_KEY=x"], ["https://bob:x@host/"]])
def test_an_argument_whose_secret_was_masked_does_not_start(launch: Terminal, here: Path, words: list[str]) -> None:
    (here / "again.toml").write_text(launch("config", "train", "train.py", *words))
    with pytest.raises(UserError, match=r"again\.toml: the secret in .*\*\*\*.* is masked"):
        read_file(here / "again.toml")


def test_only_what_was_set_can_be_shown(launch: Terminal, here: Path) -> None:
    shown = launch("config", "sft", "--set", "--trainer.optimizer.lr", "0.1", "--no-tmux")
    assert tomllib.loads(shown) == {"tmux": False, "trainer": {"optimizer": {"lr": 0.1}}}


def test_without_a_kind_it_is_the_one_that_takes_the_file(launch: Terminal, here: Path) -> None:
    (here / "rl.toml").write_text("max_async = 2\n")
    (here / "sft.toml").write_text("[trainer]\nvalidation_interval = 5\n")
    assert "max_async = 2 " in launch("config", "@", "rl.toml")
    assert "validation_interval = 5 " in launch("config", "@", "sft.toml")


def test_a_runs_values_have_the_origins_of_its_start(launch: Terminal, here: Path) -> None:
    root = a_run(here / "outputs" / "otter")
    (root / "config.toml").write_text('# launch sft --grace 2m\n\nseed = 0\ngrace = "2m"  # from --grace\n')
    for name in ("otter", "ott", str(root)):
        shown = launch("config", name)
        assert shown.startswith("# launch sft --grace 2m\n")
        assert line_of(shown, "grace") == 'grace = "2m" # --grace'
        assert line_of(shown, "seed") == "seed = 0 # default"
    for words in (["--set"], ["--set", "otter"], ["otter", "--set"]):
        assert tomllib.loads(launch("config", *words)) == {"grace": "2m"}
    assert line_of(launch("config", "otter", "--max-steps", "9"), "max_steps") == "max_steps = 9 # --max-steps"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nobody"], "there is no run"),
        ([], "there is no run yet"),
        (["@", "missing.toml"], "missing.toml: there is no such file"),
        (["@", "broken.toml"], "broken.toml: not valid TOML"),
        (["rl", "--max-steps", "x"], "--max-steps x: must be a whole number"),
        (["rl", "--max-stesp", "3"], "did you mean --max-steps?"),
        (["rl", "stray"], "unexpected argument: stray"),
    ],
    ids=" ".join,
)
def test_a_wrong_request_is_one_message(launch: Terminal, here: Path, words: list[str], said: str) -> None:
    (here / "broken.toml").write_text("x = [\n")
    assert said in launch("config", *words, exit_code=2)


@pytest.mark.parametrize(
    ("content", "said"), [(None, "there is no such file"), ("x = [", "not valid TOML"), ("x = 1", "no such field")]
)
def test_a_run_whose_config_cannot_be_read_is_one_message(
    launch: Terminal, here: Path, content: str | None, said: str
) -> None:
    root = a_run(here / "outputs" / "otter")
    if content:
        (root / "config.toml").write_text(content)
    refused = launch("config", "otter", exit_code=2)
    assert said in refused and "config.toml" in refused


@pytest.mark.parametrize("kind", ["rl", "sft", "train"])
def test_the_schemas_beside_the_recipes_are_those_of_the_models(launch: Terminal, kind: str) -> None:
    written = (CONFIGS / f"{kind}.schema.json").read_text()
    again = f"write it again: launch config {kind} --schema > configs/{kind}.schema.json"
    assert written == launch("config", kind, "--schema"), again
