"""The `launch` script, as people call it. Wrong requests: one message, exit code 2, nothing left behind."""

import base64
import contextlib
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest

from launcher.rundir import RunDir
from tests.children import clean_environment
from tests.plans import shower, shown
from tests.several_nodes import free_endpoint

LAUNCH = Path(sys.executable).with_name("launch")


@dataclass(frozen=True)
class Terminal:
    """A user's shell: a working directory, a home, and nothing of the test's own environment."""

    directory: Path
    home: Path

    def type(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        clean = clean_environment(self.home, XDG_STATE_HOME=str(self.home / "state"), **env)
        command = [LAUNCH, *arguments]
        return subprocess.run(
            command,
            cwd=self.directory,
            env=clean,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=240,
            check=False,
        )

    def everything(self) -> dict[Path, bytes]:
        """All files of the working directory and the home."""
        return {path: path.read_bytes() if path.is_file() else b"" for path in self.home.parent.rglob("*")}

    def refused(self, *arguments: str, **env: str) -> str:
        """The one message that a wrong request gets; nothing has been printed, written or started."""
        before = self.everything()
        done = self.type(*arguments, **env)
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert "Traceback" not in done.stderr
        assert done.stderr.startswith("launch: ")
        assert self.everything() == before
        return done.stderr.removeprefix("launch: ").rstrip()


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    for name in ("here", "home"):
        (tmp_path / name).mkdir()
    return Terminal(tmp_path / "here", tmp_path / "home")


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


# --- wrong requests ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("rl --nprok 8", r"there is no option --nprok\n  did you mean --nproc\?"),
        ("sft --wandb.projekt x", r"there is no option --wandb.projekt\n  did you mean --wandb.project\?"),
        ("rl --nproc many", r"--nproc many: must be a whole number"),
        ("rl --nproc 0", r"--nproc 0: must be a whole number from 1 to 4096, or gpu"),
        ("sft --nproc 2 --filter-rank 9", r"--filter-rank 9: rank 9 does not exist; there are 2 ranks, 0 to 1\n"),
        ("rl @ missing.toml", r"missing.toml: there is no such file"),
        ("rl missing.toml", r"unexpected argument: missing.toml\n.*@ missing.toml"),
        ("rl --trainer.module a --trainer.script b", r"--trainer: module and script are both set; name one program"),
        ("sft --trainer.script train.py", r"trainer: there is no script train.py in "),
        ("sft --trainer.command nonsense-program", r"trainer: the program nonsense-program cannot be found"),
        ("sft --trainer.command ./nonsense", r"trainer: the program ./nonsense cannot be found"),
        ("sft --trainer.cwd nowhere", r"trainer: its working directory .*/nowhere does not exist"),
        (
            "sft --trainer.command sh --trainer.args {prot}",
            r"trainer: {prot} is not a placeholder\n.*port",
        ),
        ("sft --trainer.args {port}", r"trainer: {port} .* has no value in this run"),
        ("rl --inference.host nowhere.invalid", r"--inference.host nowhere.invalid: cannot listen there"),
        ("rl --no-inference", r"without inference, orchestrator.inference_url must say where the server is"),
        ("sft --grace 5000000000s", r"--grace 5000000000s: too long; a duration is at most 46296d"),
        ("train", r"launch train has no program to start"),
        ("train missing.py --lr 1", r"trainer: there is no script missing.py in"),
        ("sft missing.py --lr 1", r"trainer: there is no script missing.py in"),
        ("sft --trainer.lr 1e-4 --dry-run", r"there is no option --trainer.lr\n  did you mean --trainer.optimizer.lr"),
        ("train --lr 1 train.py", r"there is no option --lr\n  what is meant for your own program stands after it"),
        ("sft --nproc 99999999999999999999", r"--nproc 9+: must be a whole number from 1 to 4096"),
        ("stop --grace 5000000000s", r"--grace 5000000000s: too long; a duration is at most 46296d"),
        ("stop --grace nan", r"--grace nan: too long"),
        ("stop --grace -1", r"--grace -1: must not be negative"),
        ("sft --name a/b", r"--name a/b: a name has letters, digits"),
        ("sft --output-dir=", r"--output-dir: is empty; name a directory"),
        ("sft --log-dir=", r"--log-dir: is empty; name a directory"),
        ("sft --output-dir /proc/nowhere", r"/proc/nowhere: cannot be written: .*\n.*--output-dir"),
        ("sft --output-dir /dev/null/run", r"/dev/null: cannot be written: .*\n.*--output-dir"),
        ("sft --dry-run --output-dir /proc/nowhere", r"/proc/nowhere: cannot be written: .*\n.*--output-dir"),
        ("attach", r"there is no run yet\n.*launch rl"),
        ("attach otter", r"there is no run yet"),
        ("attach --windoww x", r"there is no option --windoww\n  did you mean --window\?"),
        ("atach", r"atach is not a command\n  did you mean launch attach\?"),
        ("entirely", r"entirely is not a command\n  the commands are rl, sft, "),
    ],
)
def test_a_wrong_request_is_one_message_and_leaves_nothing_behind(
    terminal: Terminal, arguments: str, expected: str
) -> None:
    assert re.match(expected, terminal.refused(*arguments.split()))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "seed = 1\n\n[trainer]\nnproz = 2\n",
            "request.toml:4: trainer.nproz: there is no such field; did you mean nproc?",
        ),
        ("seed = 'x'\n", "request.toml:1: seed = 'x': must be a whole number"),
        ("\n[trainer\n", "request.toml: not valid TOML: "),
        ("[services.reward]\ngpus = 1\n", "services.reward.command is missing"),
        ("trainer = 5\nslurm.nodes = 2\n", "request.toml:1: trainer = 5: "),
        ("slurm.nodes = 2\ntrainer.torchrun = 'x'\n", "request.toml:2: trainer.torchrun = 'x': "),
    ],
)
def test_a_wrong_file_is_named_with_its_line(terminal: Terminal, text: str, expected: str) -> None:
    (terminal.directory / "request.toml").write_text(text)
    assert terminal.refused("sft", "@", "request.toml").startswith(expected)


def test_a_port_that_is_taken_is_refused(terminal: Terminal, taken: int) -> None:
    message = terminal.refused("rl", "--inference.port", str(taken))
    assert message.startswith(f"--inference.port {taken}: 127.0.0.1:{taken} cannot be used: Address already in use\n")


@pytest.mark.parametrize("command", ["rl", "sft"])
def test_more_ranks_than_gpus_are_refused(terminal: Terminal, command: str) -> None:
    message = terminal.refused(command, "--nproc", "3", CUDA_VISIBLE_DEVICES="0,1")
    assert message == "--nproc 3: there are 2 GPUs\n  --nproc can be 1 to 2"


def test_foreign_inference_does_not_get_the_trainers_gpus(terminal: Terminal) -> None:
    message = terminal.refused(
        "rl", "--inference.command", "sh", "--inference.takes-weights", "--nproc", "2", CUDA_VISIBLE_DEVICES="0,1"
    )
    assert "--inference.share-gpus" in message


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_a_directory_that_holds_a_run_is_refused_with_what_to_type(terminal: Terminal, more: tuple[str, ...]) -> None:
    root = terminal.directory / "a run"
    root.mkdir()
    RunDir(root).state.write_text("{}")
    message = terminal.refused("sft", "--output-dir", "a run", *more)
    assert message.startswith(f"{root}: holds a run already\n")
    assert f"launch resume '{root}'" in message
    assert "--clean" in message


@pytest.mark.parametrize("more", [(), ("--clean",)])
def test_a_directory_of_somebody_elses_is_refused(terminal: Terminal, more: tuple[str, ...]) -> None:
    (terminal.directory / "mine" / "logs").mkdir(parents=True)
    assert "no run.json: this is not a run's directory" in terminal.refused("sft", "--output-dir", "mine", *more)


# --- --help and --dry-run ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", ["--help", "-h", "rl --help", "sft -h", "attach --help"])
def test_help_is_plain_and_fits_a_narrow_terminal(terminal: Terminal, arguments: str) -> None:
    done = terminal.type(*arguments.split(), COLUMNS="80")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line for line in done.stdout.splitlines() if len(line) > 80] == []
    assert "\x1b" not in done.stdout


def test_every_command_stands_in_the_help(terminal: Terminal) -> None:
    from launcher.cli import COMMANDS

    text = terminal.type("--help").stdout
    assert {name for name in COMMANDS if re.search(rf"^  {name} ", text, re.MULTILINE)} == set(COMMANDS)


def test_the_version_is_that_of_the_package(terminal: Terminal) -> None:
    assert terminal.type("--version").stdout == f"launch {version('launch-rl')}\n"


def test_launch_alone_shows_what_there_is(terminal: Terminal) -> None:
    done = terminal.type()
    assert "Commands:" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_goes_away_is_no_error(terminal: Terminal) -> None:
    environment = clean_environment(terminal.home)
    piped = f"{shlex.quote(str(LAUNCH))} rl --help | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", piped], env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.stderr == ""
    assert done.stdout.splitlines()[1] == "0"


def test_a_dry_run_writes_and_starts_nothing(terminal: Terminal) -> None:
    before = terminal.everything()
    done = terminal.type("rl", "--name", "otter", "--dry-run")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"# rl run otter, attempt 1, in {terminal.directory}/outputs/otter\n")
    assert terminal.everything() == before


def test_a_dry_run_warns_of_a_program_that_is_not_installed_here(terminal: Terminal) -> None:
    done = terminal.type("sft", "--trainer.command", "no-such-program", "--dry-run")
    assert done.returncode == 0
    assert "no-such-program" in done.stdout
    warning = "launch: warning: it would not start here: trainer: the program no-such-program cannot be found"
    assert done.stderr.strip() == warning


@pytest.mark.parametrize("name", ["a b", "it's", "two\nlines", "$(touch pwned)", "ünï", "x/{exp}", "#{pid}"])
def test_the_lines_of_a_dry_run_with_a_directory_can_be_run(terminal: Terminal, name: str) -> None:
    done = terminal.type(
        "sft", "--dry-run", "--output-dir", name, *shower("{config}", name.replace("{", "{{").replace("}", "}}"))
    )
    assert done.returncode == 0, done.stderr
    ran = subprocess.run(["sh"], input=done.stdout, cwd=terminal.directory, capture_output=True, text=True, check=True)
    config = terminal.directory / name / "configs" / "trainer.toml"
    assert shown(ran.stdout)[0] == [str(config), name]
    assert config.exists()
    assert not list(terminal.directory.rglob("pwned"))


# --- a run, at its smallest -------------------------------------------------------------------------------------------


@pytest.fixture
def without_tmux(tmp_path: Path) -> str:
    """A PATH on which everything is but tmux."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "git", "true", "false"):
        (programs / name).symlink_to(shutil.which(name) or "")
    return str(programs)


def test_without_tmux_one_line_says_so_and_the_run_goes_on(terminal: Terminal, without_tmux: str) -> None:
    done = terminal.type("sft", "--name", "otter", "--trainer.command", "true", PATH=without_tmux)
    assert done.returncode == 0, done.stderr
    told = [line for line in (done.stdout + done.stderr).splitlines() if "tmux" in line]
    assert len(told) == 1
    assert "install" in told[0]
    assert "run otter finished" in done.stdout


def test_no_tmux_is_not_mentioned_when_none_was_wanted(terminal: Terminal, without_tmux: str) -> None:
    done = terminal.type("sft", "--no-tmux", "--trainer.command", "true", PATH=without_tmux)
    assert done.returncode == 0, done.stderr
    assert "tmux" not in done.stdout + done.stderr


@pytest.mark.parametrize(("program", "code"), [("true", 0), ("false", 1)])
def test_the_exit_code_says_whether_the_run_finished(terminal: Terminal, program: str, code: int) -> None:
    done = terminal.type("sft", "--no-tmux", "--trainer.command", program)
    assert done.returncode == code, done.stderr
    assert ("FAILED  trainer: exit code 1" in done.stdout) == bool(code)


def test_a_finished_run_is_not_replaced_unless_asked_to(terminal: Terminal) -> None:
    request = ("sft", "--no-tmux", "--output-dir", "run", "--trainer.command", "true")
    assert terminal.type(*request).returncode == 0
    assert "holds a run already" in terminal.refused(*request)
    assert terminal.type(*request, "--clean").returncode == 0


NASTY = ["x/{exp}", "{", "#{pid} #(touch pwned) #[fg=red]", "it's $(x)\n{a}"]


@pytest.mark.parametrize("name", ["b\udcff{x} #{pid}", *(pytest.param(each, marks=pytest.mark.slow) for each in NASTY)])
def test_a_path_is_only_a_path(terminal: Terminal, name: str) -> None:
    words = ("sh", "--trainer.args=-c", "--trainer.args", 'printf "in $LAUNCH_RUN_DIR" | base64 -w0')
    done = terminal.type("sft", "--no-tmux", "--output-dir", name, "--trainer.command", *words)
    assert done.returncode == 0, done.stderr
    root = terminal.directory / name
    assert base64.b64encode(b"in " + os.fsencode(root)).decode() in done.stdout
    assert "trainer: started" in RunDir(root).launcher_log.read_text()
    found = json.loads(terminal.type("status", name, "--json").stdout)
    assert (found["directory"], found["state"]) == (str(root), "finished")
    assert "trainer: started" in terminal.type("logs", name).stdout
    assert "its processes have ended" in terminal.type("stop", name).stdout
    assert terminal.type("resume", name).returncode == 0
    assert not list(terminal.home.parent.rglob("pwned"))


def test_its_own_config_repeats_a_run_under_another_name(terminal: Terminal) -> None:
    request = ("--no-tmux", "--seed", "5", "--trainer.command", "true")
    assert terminal.type("sft", "--name", "first", *request).returncode == 0
    assert terminal.type("sft", "@", "outputs/first/config.toml", "--name", "second").returncode == 0
    first, second = (terminal.directory / "outputs" / name / "config.toml" for name in ("first", "second"))
    assert tomllib.loads(first.read_text()) == tomllib.loads(second.read_text())  # comments say where values come from
    assert (terminal.directory / "outputs" / "latest").readlink() == Path("second")


def test_a_terminal_gets_a_word_at_once_and_the_first_line_takes_its_place() -> None:
    ours, theirs = os.openpty()
    with subprocess.Popen([LAUNCH, "rl", "--nproc", "0"], stdout=theirs, stderr=theirs, stdin=subprocess.DEVNULL):
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # the end of a terminal
            while block := os.read(ours, 1000):
                shown += block
    os.close(ours)
    assert re.match(rb"starting\rlaunch: \S", shown)


@pytest.mark.parametrize(
    ("job", "code"),
    [({"LAUNCH_K8S_JOB": "otter-1"}, 75), ({"SLURM_JOB_ID": "7", "LAUNCH_SLURM_JOB": "7"}, 75), ({}, 2)],
    ids=["Kubernetes", "Slurm", "by hand"],
)
def test_nodes_that_do_not_meet_have_an_exit_code_of_their_own_in_a_job(
    terminal: Terminal, job: dict[str, str], code: int
) -> None:
    nodes = "--nnodes 2 --node-rank 0 --join-timeout 0.1s --rdzv-endpoint"
    done = terminal.type(*f"sft --output-dir run {nodes} {free_endpoint()}".split(), **job)
    assert (done.returncode, "did not join within 0.1s" in done.stderr) == (code, True), done.stderr


def test_a_wrong_request_has_code_2_in_a_job_too(terminal: Terminal) -> None:
    assert "--otter" in terminal.refused("sft", "--otter", LAUNCH_K8S_JOB="otter-1")
