"""`launch diff`: what two runs differ in."""

import json
from pathlib import Path

import pytest

from launcher.runs.state import RunState
from tests.commands.terminal import Terminal
from tests.runs.test_choice import a_run

pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture
def launch(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("COLUMNS", "80")
    return Terminal(capsys)


def a_trained(root: Path, config: str, losses: list[float], **provenance: object) -> Path:
    a_run(root, state="finished")
    state = RunState.model_validate_json((root / "run.json").read_text())
    values = state.model_dump(mode="json")
    values["provenance"] |= provenance
    values["processes"] = [{"name": "trainer", "log": str(root / "logs" / "trainer.log")}]
    (root / "run.json").write_text(json.dumps(values))
    (root / "config.toml").write_text(config)
    (root / "metrics").mkdir()
    steps = [json.dumps({"step": step, "loss": loss, "lr": 0.1}) for step, loss in enumerate(losses, 1)]
    (root / "metrics" / "trainer.jsonl").write_text("".join(f"{line}\n" for line in steps))
    return root


@pytest.fixture
def two(here: Path) -> Path:
    a_trained(
        here / "outputs" / "otter",
        'seed = 1\ngrace = "1m"\n[trainer.optimizer]\nlr = 0.1\n',
        [3.0, 2.0, 1.0],
        argv=["launch", "sft", "--seed", "1"],
        git_commit="a" * 40,
        packages={"torch": "2.9"},
    )
    a_trained(
        here / "outputs" / "badger",
        "seed = 1\ngrace = 60.0\n[trainer.optimizer]\nlr = 0.2\n",
        [3.0, 2.5],
        argv=["launch", "sft", "--trainer.optimizer.lr", "0.2"],
        git_commit="b" * 40,
        git_dirty=True,
        packages={"torch": "2.9"},
    )
    return here


def test_what_differs_is_shown_and_nothing_else(launch: Terminal, two: Path) -> None:
    lines = [" ".join(line.split()) for line in launch("diff", "otter", "badger").splitlines()]
    assert "trainer.optimizer.lr 0.1 0.2" in lines
    assert f"git {'a' * 12} {'b' * 12} and changes" in lines
    assert "loss 1 █▅▁ 2.5 █▁" in lines
    assert f"what changed in between: git diff {'a' * 12} {'b' * 12}" in lines
    assert not [line for line in lines if line.startswith(("seed", "grace", "torch", "lr"))]
    assert "lr 0.1 ▁▁▁ 0.1 ▁▁" in [" ".join(line.split()) for line in launch("diff", "ot", "ba", "--all").splitlines()]


def test_an_evaluation_that_is_older_than_the_last_steps_is_compared_as_well(launch: Terminal, two: Path) -> None:
    for name, value in (("otter", 0.5), ("badger", 0.25)):
        rows = [{"step": 1, "loss": 1.0, "validation/loss": value}, *({"step": n, "loss": 1.0} for n in range(2, 30))]
        metrics = two / "outputs" / name / "metrics" / "trainer.jsonl"
        metrics.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    lines = [" ".join(line.split()) for line in launch("diff", "otter", "badger").splitlines()]
    assert any(line.startswith("validation/loss 0.5 ") and " 0.25 " in f"{line} " for line in lines), lines


@pytest.mark.parametrize("width", [80, 120, 200])
def test_no_line_is_wider_than_the_terminal(
    launch: Terminal, two: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    shown = launch("diff", "otter", "badger")
    assert max(map(len, shown.splitlines())) <= width, shown


def test_runs_of_one_name_are_told_apart(launch: Terminal, here: Path) -> None:
    roots = [a_trained(here / name / "otter", "seed = 1\n", []) for name in ("one", "two")]
    shown = launch("diff", *map(str, roots))
    assert all(str(root) in shown for root in roots) and "configuration\n  the same" in shown


def test_a_configuration_of_another_version_is_compared_as_it_is_written(launch: Terminal, two: Path) -> None:
    (two / "outputs" / "badger" / "config.toml").write_text('later = "x"\n')
    assert "later" in launch("diff", "otter", "badger")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["otter", "nobody"], "there is no run 'nobody'"),
        (["otter", "otter"], "are the same run"),
        (["otter"], "B is missing\n  type it: launch diff A B"),
        (["otter", "broken"], "not valid TOML"),
        (["otter", "gone"], "config.toml: there is no such file"),
    ],
    ids=" ".join,
)
def test_a_wrong_request_is_one_message(launch: Terminal, two: Path, words: list[str], said: str) -> None:
    a_trained(two / "outputs" / "broken", "x = [", [])
    (a_trained(two / "outputs" / "gone", "", []) / "config.toml").unlink()
    assert said in launch("diff", *words, exit_code=2)


def test_a_secret_that_differs_is_not_shown(launch: Terminal, here: Path) -> None:
    for name in ("otter", "badger"):
        config = f'[trainer]\nargs = ["--hf-token", "geheim-{name}"]\n[trainer.env]\nHF_TOKEN = "geheim-{name}"\n'
        a_trained(here / "outputs" / name, config, [])
    shown = launch("diff", "otter", "badger")
    assert "geheim" not in shown and "trainer.args" in shown and '["--hf-token", "***"]' in shown
