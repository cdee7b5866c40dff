"""Tab: what may follow, in a real shell too, and how long that takes."""

import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.cli import COMMANDS
from launcher.completion import answer
from launcher.completion.answer import WantsFiles, candidates, toml_files
from tests.children import run_python
from tests.launching import LAUNCH
from tests.runs.test_choice import a_run
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One table for all tests here, as making it takes half a second."""
    directory = tmp_path_factory.getbasetemp() / "completion-cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(directory))
    return directory


def after(*words: str, incomplete: str = "") -> list[str]:
    return [word for word in candidates(COMMANDS, words, incomplete) if word.startswith(incomplete)]


@pytest.mark.parametrize(
    ("words", "incomplete", "expected"),
    [
        ([], "s", ["sft", "status", "samples", "stop", "stacks"]),
        ([], "--v", ["--version"]),
        (["rl"], "--nproc", ["--nproc", "--nproc-per-node"]),
        (["rl"], "--no-wandb.l", ["--no-wandb.log-extras", "--no-wandb.log-extras.samples"]),
        (["sft"], "--inference", []),
        (["rl", "--log.level"], "W", ["WARNING"]),
        (["rl", "--help"], "trainer.opt", ["trainer.optimizer"]),
        (["train", "--services.a.command", "x", "-r", "3"], "--no-py", ["--no-python"]),
        (["train", "--services.a.may_exit"], "--no-py", ["--no-python"]),
        (["train"], "--no-no-", []),
        (["logs"], "--le", ["--level"]),
        (["logs", "--level"], "w", ["warning"]),
        (["resume", "otter"], "--max-st", ["--max-steps"]),
        (["stop", "otter"], "--no", ["--now"]),
        (["--show-completion"], "z", ["zsh"]),
        (["nothing"], "", []),
    ],
)
def test_commands_options_and_choices(words: list[str], incomplete: str, expected: list[str]) -> None:
    if words == ["nothing"]:
        with pytest.raises(WantsFiles):
            after(*words)
        return
    found = after(*words, incomplete=incomplete)
    assert found[: len(expected)] == expected and bool(found) == bool(expected)


def test_runs_and_components(here: Path) -> None:
    a_run(here / "outputs" / "otter", age=10)
    a_run(here / "outputs" / "directory", name="badger")
    a_run(here.parent / "far" / "away")
    logs = here / "outputs" / "otter" / "logs" / "attempt_1"
    logs.mkdir(parents=True)
    for name in ("trainer.log", "launcher.log", "rank_0.txt"):
        (logs / name).touch()
    (logs.parent / "latest").symlink_to("attempt_1")
    assert set(after("status")) == {"otter", "badger"}
    assert after("status", incomplete="aw") == ["away"]
    assert after("diff", "otter", incomplete="b") == ["badger"]
    assert after("logs", "-f", "otter") == ["launcher", "trainer"]
    (here / "outputs" / "directory" / "logs").symlink_to(logs.parent)
    assert after("logs", "badger") == ["launcher", "trainer"]  # by its name, which is not its directory's
    assert set(after("clean", "otter", "badger")) == {"otter", "badger"}
    assert "rl" in after("config", incomplete="r")
    assert after("status", "otter") == []


def test_a_planted_name_never_reaches_the_shell(here: Path) -> None:
    """zsh evaluates what it gets."""
    for number, name in enumerate(("$(touch x)", "a`b`", "a b", "'", "-rf")):
        root = here / "outputs" / f"d{number}"
        root.mkdir(parents=True)
        (root / "run.json").write_text(json.dumps({"name": name}))
    (here / "outputs" / "$(touch y)").mkdir()
    (here / "outputs" / "$(touch y)" / "run.json").touch()
    assert [name for name in after("status") if not re.fullmatch(r"d\d", name)] == []


def test_a_fifo_is_no_run_and_a_link_to_itself_hides_no_file(here: Path) -> None:
    a_run(here / "outputs" / "otter")
    (here / "outputs" / "trap").mkdir()
    os.mkfifo(here / "outputs" / "trap" / "run.json")
    assert after("status") == ["otter"]
    for name in ("a.toml", "c.toml"):
        (here / name).touch()
    (here / "b").symlink_to("b")
    assert toml_files("") == ["a.toml", "c.toml", "outputs/"]


def test_a_name_that_is_no_utf8_and_a_cursor_that_is_no_number_print_no_traceback(here: Path) -> None:
    Path(os.fsdecode(b"caf\xe9.toml")).touch()
    assert "caf" in pressed("launch rl @ ", PYTHONIOENCODING="utf-8:strict")
    assert pressed("launch st", COMP_CWORD="abc") == ""


def test_toml_files_follow_the_at_sign(here: Path) -> None:
    for name in ("configs/a b.toml", "configs/rl.toml", "configs/x.json", "my.toml", ".hidden.toml"):
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).touch()
    assert toml_files("") == ["configs/", "my.toml"]
    assert toml_files("con") == ["configs/a b.toml", "configs/rl.toml"]
    with pytest.raises(WantsFiles) as wanted:
        after("rl", "--trainer", "@")
    assert wanted.value.ending == ".toml"


def test_a_path_is_completed_by_the_shell() -> None:
    for words in (
        ["rl", "--trainer.script"],
        ["status"],
        ["sft", "--", "x"],
        ["train", "--services.a.command=x", "train.py"],
    ):
        with pytest.raises(WantsFiles):
            after(*words, incomplete="./")


# --- the cache --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", ["", "{", "[]", '{"key": 1}'])
def test_a_broken_or_old_cache_is_written_anew(cache: Path, content: str) -> None:
    after("rl")
    (cache / "launch" / "completion.json").write_text(content)
    assert after("rl", incomplete="--grace") == ["--grace"]
    assert json.loads((cache / "launch" / "completion.json").read_text())["key"] == answer.package_key()


def test_a_cache_that_cannot_be_written_is_no_error(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(here / "file"))
    assert after("stop", incomplete="--gr") == ["--grace"]


# --- how the shells get it --------------------------------------------------------------------------------------------


def pressed(line: str, shell: str = "bash", **more: str) -> str:
    words = line.split(" ")
    typed = {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1), "_TYPER_COMPLETE_ARGS": line}
    environment = os.environ | typed | {"_LAUNCH_COMPLETE": f"complete_{shell}"} | more
    done = subprocess.run([LAUNCH], env=environment, capture_output=True, check=False)
    assert done.stderr == b""
    return done.stdout.decode(errors="replace")


def test_zsh_and_fish_get_the_help_as_well(here: Path) -> None:
    assert pressed("launch st", "zsh").startswith('_arguments \'*: :(("status":"the runs, or one in full"')
    assert pressed("launch rl @ c", "zsh") == "_files -g '*.toml(-.)'\n"
    fish = pressed("launch st", "fish", _TYPER_COMPLETE_FISH_ACTION="get-args")
    assert "status\tthe runs, or one in full\n" in fish


def test_a_line_that_is_not_finished_is_no_error(here: Path) -> None:
    for line in ("launch rl 'x", 'launch rl "', "launch rl \\", "launch  ", "launch rl --tee=", "launch rl @"):
        pressed(line)
        pressed(line, "zsh")


def test_only_what_is_needed_is_loaded(here: Path) -> None:
    after("rl")
    typed = {"_LAUNCH_COMPLETE": "complete_bash", "COMP_WORDS": "launch\nrl\n--tr", "COMP_CWORD": "2"}
    code = f"import os, sys\nos.environ.update({typed!r})"
    code += "\ntry:\n    import launcher.cli\nexcept SystemExit:\n    print(*sys.modules)"
    done = run_python(code, Path(__file__).parent.parent.parent)
    assert not {"typer", "pydantic", "rich", "torch", "subprocess"} & set(done.stdout.split("\n")[-2].split())


@pytest.mark.slow
def test_a_key_press_takes_a_few_times_what_python_takes_to_start(here: Path) -> None:
    """About 50 ms where Python takes 15; measured side by side, the least of several."""
    after("rl")
    environment = os.environ | {
        "_LAUNCH_COMPLETE": "complete_bash",
        "COMP_WORDS": "launch\nrl\n--tr",
        "COMP_CWORD": "2",
    }

    def seconds(*command: str) -> float:
        begin = time.perf_counter()
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - begin

    taken = [(seconds(LAUNCH), seconds(sys.executable, "-c", "pass")) for _ in range(20)]
    ours, pythons = map(min, zip(*taken, strict=True))
    assert ours < 7 * pythons


class Terminal:
    """An interactive bash that has the script of `launch --show-completion`."""

    def __init__(self, home: Path) -> None:
        self._pid, self._file = pty.fork()
        if self._pid == 0:
            own = {"PS1": "$ ", "HOME": str(home), "COLUMNS": "160", "TERM": "dumb"}  # a line that wraps is drawn anew
            path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
            os.execvpe("bash", ["bash", "--norc", "-i"], os.environ | own | {"PATH": path})
        self.seen = ""
        self.type('eval "$(launch --show-completion bash)"; echo rea""dy\n')
        until(lambda: "ready" in self.read())

    def type(self, text: str) -> None:
        os.write(self._file, text.encode())

    def read(self) -> str:
        while select.select([self._file], [], [], 0.05)[0]:
            self.seen += os.read(self._file, 4096).decode(errors="replace")
        return self.seen

    def completed(self, line: str, expected: str) -> None:
        self.seen = ""
        self.type(f"{line}\t")
        until(lambda: expected in self.read().replace("\x07", ""))
        self.type("\x15\n")

    def close(self) -> None:
        os.kill(self._pid, 9)
        os.waitpid(self._pid, 0)
        os.close(self._file)


@pytest.fixture
def bash(here: Path) -> Iterator[Terminal]:
    terminal = Terminal(here)
    yield terminal
    terminal.close()


def test_bash_completes_commands_options_runs_and_files(bash: Terminal, here: Path) -> None:
    a_run(here / "outputs" / "calm-otter")
    (here / "my config.toml").touch()
    bash.completed("launch stat", "launch status ")
    bash.completed("launch status calm", "launch status calm-otter ")
    bash.completed("launch rl --trainer.optimizer.warm", "--trainer.optimizer.warmup-steps ")
    bash.completed("launch rl @ my", "launch rl @ my\\ config.toml ")
    bash.completed("launch rl --log.level=WA", "--log.level=WARNING ")


# --- installing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shell", "file"),
    [
        ("bash", ".bash_completions/launch.sh"),
        ("zsh", ".zfunc/_launch"),
        ("fish", ".config/fish/completions/launch.fish"),
    ],
)
def test_installing_writes_what_is_shown(here: Path, shell: str, file: str) -> None:
    environment = os.environ | {"HOME": str(here)}
    for _ in range(2):
        done = subprocess.run([LAUNCH, "--install-completion", shell], env=environment, capture_output=True, text=True)
        assert done.returncode == 0 and file in done.stdout, done.stderr
    shown = subprocess.run([LAUNCH, "--show-completion", shell], env=environment, capture_output=True, text=True)
    assert (here / file).read_text().strip() == shown.stdout.strip() and "_LAUNCH_COMPLETE" in shown.stdout
    if shell == "bash":
        assert (here / ".bashrc").read_text().count(file) == 1
    if shutil.which(shell):
        subprocess.run([shell, "-n", here / file], check=True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--install-completion", "tcsh"], "tcsh is not supported"),
        (["--install-completion", "bash", "more"], "name one: launch --install-completion bash|zsh|fish"),
        (["--install-completion", "fish"], 'eval "$(launch --show-completion fish)"'),
    ],
    ids=" ".join,
)
def test_what_cannot_be_installed_is_one_message(here: Path, words: list[str], said: str) -> None:
    (here / "file").touch()
    environment = os.environ | {"HOME": str(here / "file")}
    done = subprocess.run([LAUNCH, *words], env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr
