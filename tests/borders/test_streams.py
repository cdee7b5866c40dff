"""stdout and stderr of whatever kind: full, closed, ASCII, without a reader."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.children import clean_environment

LAUNCH = str(Path(sys.executable).with_name("launch"))
STEPS = "".join(f'{{"step": {number}, "loss": {number}.5}}\n' for number in range(1, 9))
TEXT = "▁▂▃▄▅▆▇█ ┤⠁⡀⡁ … é \\udcff"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a run with a curve has finished. Nothing in it is changed."""
    path = tmp_path_factory.mktemp("finished")
    request = ["sft", "--no-tmux", "--name", "otter", "--trainer.command", "true"]
    environment = clean_environment(path, XDG_STATE_HOME=str(path / "state"))
    subprocess.run([LAUNCH, *request], cwd=path, env=environment, capture_output=True, timeout=240, check=True)
    metrics = path / "outputs" / "otter" / "metrics"
    metrics.mkdir()
    (metrics / "trainer.jsonl").write_text(STEPS)
    return path


def shell(directory: Path, line: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    environment = clean_environment(directory, XDG_STATE_HOME=str(directory / "state"), COLUMNS="80", **variables)
    command = ["bash", "-c", line.replace("launch", shlex.quote(LAUNCH))]
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, timeout=240, check=False)


@pytest.mark.parametrize("unbuffered", ["", pytest.param("1", marks=pytest.mark.slow)])
def test_a_stdout_without_room_is_one_message_of_every_command(directory: Path, unbuffered: str) -> None:
    commands = (
        "--help",
        "--version",
        "sft --help",
        "status",
        "status otter",
        "status --json",
        "logs otter",
        "doctor",
        "sft --dry-run",
    )
    for command in commands if unbuffered else ("status", "--help"):
        done = shell(directory, f"launch {command} > /dev/full", PYTHONUNBUFFERED=unbuffered)
        message = b"launch: stdout cannot be written: No space left on device\n"
        assert (done.returncode, done.stderr) == (1, message), command


def test_a_wrong_request_is_told_to_a_full_stdout_as_to_any(directory: Path) -> None:
    done = shell(directory, "launch stop fox > /dev/full", PYTHONUNBUFFERED="1")
    assert (done.returncode, done.stderr) == (2, b"launch: there is no run 'fox'\n  the newest: otter\n")


def test_a_run_goes_on_without_a_stdout_that_is_full(tmp_path: Path) -> None:
    done = shell(tmp_path, "launch sft --no-tmux --trainer.command true --output-dir run > /dev/full")
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_reader_that_goes_away_is_no_error(directory: Path) -> None:
    for unbuffered in ("", "1"):
        done = shell(directory, "launch status | head -1; exit ${PIPESTATUS[0]}", PYTHONUNBUFFERED=unbuffered)
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout.startswith(b"NAME")


def test_a_closed_stdout_is_no_error(directory: Path) -> None:
    done = shell(directory, "launch status >&-")
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("command", ["status", "status otter"])
def test_an_ascii_stdout_shows_curves_of_its_own_letters(directory: Path, command: str) -> None:
    done = shell(directory, f"launch {command}", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, b"")
    assert (b"_.,-=+*#" if command == "status" else b"8.5 |") in done.stdout


def test_any_text_can_be_written_in_any_encoding(tmp_path: Path) -> None:
    code = f"from launcher.borders.streams import prepare_streams\nprepare_streams()\nprint('{TEXT}')"
    for encoding, text in (
        ("ascii", rb"_.,-=+*# |'.: ... \xe9 "),
        ("latin-1", b"_.,-=+*# |'.: ... \xe9 "),
        ("utf-8", TEXT.removesuffix("\\udcff").encode()),
    ):
        environment = clean_environment(tmp_path, PYTHONIOENCODING=encoding)
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, timeout=240, check=False
        )
        assert (done.stdout, done.stderr) == (text + b"\xff\n", b""), encoding
