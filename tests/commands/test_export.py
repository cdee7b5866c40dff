"""`launch export`: one archive for a bug report."""

import os
import tarfile
from pathlib import Path

import pytest

from launcher.rundir import RunDir
from launcher.runs.state import FailureState
from tests.commands.terminal import Terminal
from tests.commands.test_clean import an_ended
from tests.states import state_of

pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture
def launch(capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(capsys)


def inside(archive: Path) -> dict[str, str]:
    with tarfile.open(archive) as tar:
        members = [(member.name, tar.extractfile(member)) for member in tar.getmembers()]
        return {name: file.read().decode() for name, file in members if file}


def a_failed(here: Path) -> RunDir:
    run = RunDir(an_ended(here / "outputs" / "otter", state="failed"))
    failure = FailureState(
        component="trainer", rank=0, what="exit code 1", cause="boom", log=None, collateral=[], text="FAILED trainer\n"
    )
    run.state.write_text(state_of(run, state="failed", failure=failure).model_dump_json())
    run.config.write_text('grace = "1m"\n')
    run.component_log("trainer").write_text("first\n" + "x" * 99 + "\n" + "y\n" * 300_000 + "last\n")
    run.watchdog_stacks.write_text("rank 0 waits in all_reduce\n")
    return run


def test_it_has_what_a_report_needs_and_no_weights(launch: Terminal, here: Path) -> None:
    a_failed(here)
    said = launch("export", "otter")
    found = inside(here / "otter.tar.gz")
    assert set(found) == {
        f"otter/{name}"
        for name in (
            "status.txt",
            "failure.txt",
            "run.json",
            "config.toml",
            "logs/attempt_1/trainer.log",
            "logs/attempt_1/stacks.txt",
        )
    }
    log = found["otter/logs/attempt_1/trainer.log"]
    assert log.endswith("last\n") and "first" not in log and len(log) <= 256 * 1024
    assert "logs/attempt_1/stacks.txt" in said and "6 files" in said
    assert (here / "otter.tar.gz").stat().st_mode & 0o777 == 0o600


def test_secrets_are_masked(launch: Terminal, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "geheim-0123456789")
    run = a_failed(here)
    run.component_log("trainer").write_text(
        "got geheim-0123456789\nHF_TOKEN=geheim-2 x\n{'wandb_api_key': 'geheim-3'}\nAuthorization: Bearer geheim-4\n"
        "https://user:geheim-5@host\nloss 0.5\n"
    )
    run.config.write_text('[trainer.env]\nHF_TOKEN = "geheim-6"\n')
    launch("export", "otter")
    texts = "\n".join(inside(here / "otter.tar.gz").values())
    assert "geheim" not in texts and "loss 0.5" in texts


def test_the_value_of_a_secret_argument_is_masked_in_the_configuration_and_its_comments_stay(
    launch: Terminal, here: Path
) -> None:
    run = a_failed(here)
    text = '[trainer]\nargs = [\n    "--hf-token",\n    "{}",\n    "--lr",  # as typed\n    "1",\n]\n'
    run.config.write_text(text.format('ge\\"heim'))
    launch("export", "otter")
    assert inside(here / "otter.tar.gz")["otter/config.toml"] == text.format("***")


def test_of_secrets_that_begin_alike_and_of_quotes_within_one_nothing_is_left_and_a_log_keeps_its_numbers(
    launch: Terminal, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_TOKEN", "AAAAAAAA")
    monkeypatch.setenv("B_TOKEN", "AAAAAAAA12345")
    run = a_failed(here)
    text = 'AAAAAAAA12345\n{"password": "ab\\"geheim"}\nINFO max_token_len 5: step=3 loss=2.1\n'
    run.component_log("trainer").write_text(text)
    launch("export", "otter")
    log = inside(here / "otter.tar.gz")["otter/logs/attempt_1/trainer.log"]
    assert "12345" not in log and "geheim" not in log and "step=3 loss=2.1" in log


def test_the_folder_of_the_logs_that_is_a_link_is_not_followed(launch: Terminal, here: Path) -> None:
    run = a_failed(here)
    (here / "private").mkdir()
    (here / "private" / "id.json").write_text("private")
    run.all_logs.rename(here / "logs")
    run.all_logs.symlink_to(here / "private")
    launch("export", "otter")
    assert "private" not in "\n".join(inside(here / "otter.tar.gz").values())


def test_a_link_is_not_followed_out_of_the_run(launch: Terminal, here: Path) -> None:
    run = a_failed(here)
    (here / "private.txt").write_text("private")
    (run.logs / "planted.txt").symlink_to(here / "private.txt")
    (run.logs / "folder").symlink_to(here)
    os.mkfifo(run.logs / "pipe.log")
    launch("export", "otter")
    assert "private" not in "\n".join(inside(here / "otter.tar.gz").values())


def test_a_file_that_is_there_is_never_replaced(launch: Terminal, here: Path) -> None:
    a_failed(here)
    (here / "otter.tar.gz").write_text("mine")
    assert "is there already" in launch("export", "otter", exit_code=2)
    assert (here / "otter.tar.gz").read_text() == "mine"
    launch("export", "otter", "-o", "other.tar.gz")
    assert (here / "other.tar.gz").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nobody"], "there is no run 'nobody'"),
        (["otter", "-o", "missing/x.tar.gz"], "cannot be written: No such file"),
        (["broken"], "cannot be read"),
    ],
)
def test_a_wrong_request_is_one_message(launch: Terminal, here: Path, words: list[str], said: str) -> None:
    a_failed(here)
    RunDir(an_ended(here / "outputs" / "broken")).state.write_text("{")
    assert said in launch("export", *words, exit_code=2)


def test_a_run_with_broken_files_is_exported_all_the_same(launch: Terminal, here: Path) -> None:
    run = a_failed(here)
    run.config.unlink()
    run.component_log("trainer").write_bytes(b"\xff\x1b[31m\x00 bad\n")
    launch("export", "otter")
    assert " bad" in inside(here / "otter.tar.gz")["otter/logs/attempt_1/trainer.log"]
