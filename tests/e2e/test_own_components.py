"""Programs that know nothing of launch: their Python, their order, their restarts."""

import json
import shlex
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.launching import LAUNCH, Launched, Launcher

pytestmark = pytest.mark.slow  # many launches: CI runs them, and whoever asks for them

WAIT_FOR_GO = "import time, pathlib\nwhile not pathlib.Path('go').exists(): time.sleep(0.02)\nprint('went')"


def sft(launch: Launcher, script: str, toml: str, *arguments: str) -> Launched:
    config = launch.directory / "own.toml"
    config.write_text(toml)
    return launch.sft(script, "@", str(config), *arguments)


def service(name: str, program: str, *more: str) -> str:
    return "\n".join(
        [f"[services.{name}]", f"command = [{json.dumps(sys.executable)}, '-uc', '''{program}''']", *more, ""]
    )


def test_a_component_starts_once_the_line_it_waits_for_is_logged(launch: Launcher) -> None:
    program = (
        "import pathlib, signal, time\n"
        "time.sleep(0.3); pathlib.Path('data').touch(); print('data is there'); signal.pause()"  # late on purpose
    )
    toml = service("data", program, "ready = 'log:data is .*'") + "[trainer]\nafter = ['data']\n"
    run = sft(launch, "import pathlib\nassert pathlib.Path('data').exists()", toml)
    assert run.exit_code() == 0, run.output


def test_a_service_that_fails_is_started_again_and_the_run_goes_on(launch: Launcher) -> None:
    program = (
        "import os, pathlib, signal\nif pathlib.Path('once').exists(): pathlib.Path('go').touch(); signal.pause()\n"
    )
    program += "pathlib.Path('once').touch(); os.abort()"
    run = sft(launch, WAIT_FOR_GO, service("shaky", program, "restart = 'on-failure'"))
    assert run.exit_code() == 0, run.output
    assert "shaky: SIGABRT; starting it again, 2 more times at most" in run.output


def test_a_service_that_always_fails_ends_the_run_after_its_last_chance(launch: Launcher) -> None:
    program = "print('no'); raise SystemExit(3)"
    run = sft(launch, WAIT_FOR_GO, service("never", program, "restart = 'on-failure'", "restart_limit = 2"))
    assert run.exit_code() == 1
    assert "FAILED  never: exit code 3" in run.output
    assert run.run.component_log("never").read_text().count("no\n") == 3


def test_a_service_that_may_exit_does_not_end_the_run(launch: Launcher) -> None:
    toml = service("prepare", "import pathlib; pathlib.Path('go').touch()", "may_exit = true")
    run = sft(launch, WAIT_FOR_GO, toml)
    assert run.exit_code() == 0, run.output


def test_variables_come_from_the_file_that_is_named(launch: Launcher) -> None:
    (launch.directory / "x.env").write_text("COLOUR='deep blue'\n")
    run = launch.sft("import os\nprint(os.environ['COLOUR'])", "--trainer.env-file", "x.env")
    assert run.exit_code() == 0, run.output
    assert "[trainer0]:deep blue" in run.output


@pytest.fixture
def without_launch(tmp_path: Path) -> Path:
    """A virtual environment that has torch and not launch."""
    directory = tmp_path / "their venv"
    venv.create(directory, with_pip=False)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(directory)}))
    for found in Path(sysconfig.get_path("purelib")).iterdir():
        if "launch" not in found.name.lower():
            (packages / found.name).symlink_to(found)
    return directory


def test_a_trainer_under_its_own_python_has_its_files_where_the_documents_say(
    launch: Launcher, without_launch: Path
) -> None:
    script = "import importlib.util as u, os, sys\nassert u.find_spec('launcher') is None\n"
    script += "print(sys.prefix, os.environ['PYTHONPATH'])"
    run = launch.sft(
        script, "--trainer.python", str(without_launch), "--name", "otter", "--nproc", "2", PYTHONPATH="/x"
    )
    assert run.exit_code() == 0, run.output
    written = run.run.torchrun / "otter-1" / "attempt_0" / "1" / "stdout.log"
    assert written.read_text() == f"{without_launch} /x\n"


def test_wrong_requests_are_refused_before_anything_starts(launch: Launcher) -> None:
    for arguments, message in (
        (("--trainer.after", "nobody"), "trainer.after = 'nobody'"),
        (("--trainer.ready", "log:("), "not a regular expression"),
        (("--trainer.env-file", "none.env"), "there is no such file"),
        (("--trainer.python", "/nowhere"), "is not a program"),
    ):
        run = launch.sft("", *arguments)
        assert run.exit_code() == 2
        assert message in run.output
        assert "Traceback" not in run.output
        assert not run.run.root.exists()


def test_the_progress_of_a_program_that_only_prints_is_shown(launch: Launcher) -> None:
    script = "for step in range(1, 6): print(f'step {step}: loss={1 / step:.2f}')"
    run = launch.sft(script, "--trainer.progress", r"step (?P<step>\d+): loss=(?P<loss>[\d.]+)", "--nproc", "2")
    assert run.exit_code() == 0, run.output
    lines = [json.loads(line) for line in run.run.metrics("trainer").read_text().splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [(1, 1.0), (2, 0.5), (3, 0.33), (4, 0.25), (5, 0.2)]
    assert "0.2 at step 5" in run.output
    status = subprocess.run(
        [LAUNCH, "status", "run"], cwd=launch.directory, env=launch.environment, capture_output=True, text=True
    )
    assert "loss" in status.stdout
    assert "5/" not in status.stdout


def test_a_program_that_knows_only_wandb_is_told_which_run_it_logs_to(launch: Launcher) -> None:
    script = "import os\nprint(*(f'{name}={os.environ.get(name)}' for name in sorted(os.environ) if 'WANDB' in name))"
    run = launch.sft(script, "--wandb.project", "p", "--wandb.mode", "offline", "--name", "otter", WANDB_NAME="")
    assert run.exit_code() == 0, run.output
    for word in (
        "WANDB_PROJECT=p",
        "WANDB_NAME=otter",
        "WANDB_MODE=offline",
        f"WANDB_DIR={run.run.root}",
        "WANDB_RUN_ID=",
    ):
        assert word in run.output


def test_launch_train_runs_a_program_as_it_was_typed_for_torchrun_and_resumes_it(launch: Launcher) -> None:
    (launch.directory / "it is.py").write_text(
        "import os, sys\nprint('given', sys.argv[1:], os.environ['WORLD_SIZE'], flush=True)\n"
    )
    run = launch("train", "--nproc_per_node=2", "--no-tmux", "--name", "otter", "it is.py", "--nproc", "8", "{x}")
    assert run.exit_code() == 0, run.output
    assert "train run otter, attempt 1" in run.output
    assert "given ['--nproc', '8', '{x}'] 2" in run.output
    again = launch("resume", "otter", "--", "--init_from=resume")
    assert again.exit_code() == 0, again.output
    assert "given ['--nproc', '8', '{x}', '--init_from=resume'] 2" in again.output


SERVER = """
import http.server, sys
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""
CLIENT = """
import os, sys, urllib.request
print("got", sys.argv[1], urllib.request.urlopen(sys.argv[1]).status, flush=True)
sys.exit(3 if os.environ["LAUNCH_ATTEMPT"] == "1" else 0)
"""


def test_a_service_on_the_command_line_has_a_free_port_that_it_keeps_over_a_restart(launch: Launcher) -> None:
    (launch.directory / "a server.py").write_text(SERVER)
    (launch.directory / "client.py").write_text(CLIENT)
    serve = f"{shlex.quote(sys.executable)} 'a server.py' {{services.web.port}}"
    web = ("--services.web.command", serve, "--services.web.ready", "tcp://127.0.0.1:{services.web.port}")
    trainer = ("--trainer.after", "web", "--trainer.args", "{services.web.url}", "client.py")
    run = launch("train", "--no-tmux", "--max-restarts", "1", *web, *trainer)
    assert run.exit_code() == 0, run.output
    got = [line.split("got ")[1] for line in run.output.splitlines() if "got http://127.0.0.1:" in line]
    assert len(got) == 2 and len(set(got)) == 1 and got[0].endswith(" 200")
