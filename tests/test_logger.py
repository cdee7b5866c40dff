"""launcher.logger, in processes of its own: it is set up once in each."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.children import clean_environment, run_python

STAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}"
SETUP = "import launcher, logging, warnings; launcher.setup_logger(); log = launcher.get_logger()\n"


def ranked(root: Path, **more: str) -> dict[str, str]:
    """What launch and torchrun set for the trainer's rank 1."""
    return {"LAUNCH_RUN_DIR": str(root), "LAUNCH_COMPONENT": "trainer", "LAUNCH_ATTEMPT": "2", "RANK": "1", **more}


def rank_log(root: Path) -> Path:
    return root / "logs" / "attempt_2" / "trainer" / "rank_1.log"


# --- lines ------------------------------------------------------------------------------------------------------------


def test_a_line_starts_with_a_sortable_stamp_and_the_level(tmp_path: Path) -> None:
    out = run_python(SETUP + "log.info('loaded {} rows', 3)", tmp_path).stdout
    assert re.fullmatch(STAMP + r" \| INFO    \| loaded 3 rows\n", out)


def test_the_lines_of_a_traceback_have_no_stamp(tmp_path: Path) -> None:
    code = SETUP + "try:\n    1/0\nexcept ZeroDivisionError:\n    log.exception('no')"
    first, *rest = run_python(code, tmp_path).stdout.splitlines()
    assert re.match(STAMP, first)
    assert rest[0].startswith("Traceback")
    assert rest[-1] == "ZeroDivisionError: division by zero"
    assert not any(re.match(STAMP, line) for line in rest)


def test_a_rank_writes_the_same_lines_to_the_console_and_to_its_file(tmp_path: Path) -> None:
    out = run_python(SETUP + "log.info('one'); log.warning('two\\nthree')", tmp_path, **ranked(tmp_path)).stdout
    assert rank_log(tmp_path).read_text() == out
    assert len(out.splitlines()) == 3


def test_a_component_without_ranks_writes_to_the_console_alone(tmp_path: Path) -> None:
    result = run_python(SETUP + "log.info('one')", tmp_path, LAUNCH_RUN_DIR=str(tmp_path), LAUNCH_COMPONENT="inference")
    assert "one" in result.stdout
    assert not list(tmp_path.rglob("*.log"))


def test_what_is_below_the_level_of_the_environment_is_left_out(tmp_path: Path) -> None:
    out = run_python(SETUP + "log.info('one'); log.warning('two')", tmp_path, LAUNCH_LOG_LEVEL="warning").stdout
    assert "one" not in out
    assert "two" in out


def test_arguments_win_over_the_environment(tmp_path: Path) -> None:
    code = "import launcher; launcher.setup_logger('trainer', level='DEBUG', json_lines=False)\n"
    out = run_python(
        code + "launcher.get_logger().debug('one')", tmp_path, LAUNCH_LOG_LEVEL="ERROR", LAUNCH_LOG_JSON="1"
    )
    assert re.fullmatch(STAMP + r" \| DEBUG   \| one\n", out.stdout)


def test_json_lines_are_an_object_each_with_the_exception_in_it(tmp_path: Path) -> None:
    code = SETUP + "log.bind(step=7).info('a\\nb')\ntry:\n    1/0\nexcept ZeroDivisionError:\n    log.exception('no')"
    out = run_python(code, tmp_path, **ranked(tmp_path, LAUNCH_LOG_JSON="1")).stdout
    plain, failed = map(json.loads, out.splitlines())
    assert plain | {"time": ""} == {
        "time": "",
        "level": "INFO",
        "message": "a\nb",
        "component": "trainer",
        "rank": 1,
        "source": "__main__:2",
        "step": 7,
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d", plain["time"])
    assert failed["exception"].startswith("Traceback")
    assert rank_log(tmp_path).read_text() == out


def test_colours_and_carriage_returns_of_a_message_are_taken_out(tmp_path: Path) -> None:
    code = SETUP + r"log.info('\x1b[1;31mred\x1b[0m \x1b]8;;http://x\x07link\x1b]8;;\x07 50%\r100%')"
    run_python(code, tmp_path, **ranked(tmp_path))
    assert rank_log(tmp_path).read_text().partition(" | INFO    | ")[2] == "red link 50%\n100%\n"


def test_what_cannot_be_encoded_is_escaped_rather_than_lost(tmp_path: Path) -> None:
    code = SETUP + r"log.info('half \udcff')"
    out = run_python(code, tmp_path, **ranked(tmp_path, PYTHONIOENCODING="ascii")).stdout
    assert r"half \udcff" in out
    assert r"half \udcff" in rank_log(tmp_path).read_text()


@pytest.mark.parametrize(("env", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colour_is_for_terminals_and_not_under_no_color(tmp_path: Path, env: dict[str, str], coloured: bool) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", SETUP + "log.info('one')"]
    full_env = clean_environment(tmp_path, **ranked(tmp_path, **env))
    subprocess.run(command, env=full_env, stdout=theirs, timeout=240, check=True)
    out = os.read(ours, 4096).decode()
    os.close(ours)
    os.close(theirs)
    assert "one" in out
    assert ("\x1b[" in out) is coloured
    assert "\x1b" not in rank_log(tmp_path).read_text()


# --- other people's records -------------------------------------------------------------------------------------------


def test_records_of_logging_come_out_in_our_format(tmp_path: Path) -> None:
    out = run_python(SETUP + "logging.getLogger('uvicorn.error').info('up on %s', 80)", tmp_path).stdout
    assert re.fullmatch(STAMP + r" \| INFO    \| up on 80\n", out)


def test_json_lines_name_the_library_that_logged(tmp_path: Path) -> None:
    out = run_python(SETUP + "logging.getLogger('a.b').warning('x')", tmp_path, LAUNCH_LOG_JSON="1").stdout
    assert json.loads(out)["source"] == "a.b:2"


def test_warnings_are_logged(tmp_path: Path) -> None:
    result = run_python(SETUP + "warnings.warn('careful')", tmp_path)
    assert re.match(STAMP + r" \| WARNING \| .*UserWarning: careful", result.stdout)
    assert result.stderr == ""


@pytest.mark.parametrize(("level", "shown"), [("INFO", False), ("DEBUG", True)])
def test_the_requests_of_http_clients_are_shown_at_debug_only(tmp_path: Path, level: str, shown: bool) -> None:
    code = SETUP + "logging.getLogger('httpx').info('GET'); logging.getLogger('httpx').warning('late')"
    out = run_python(code, tmp_path, LAUNCH_LOG_LEVEL=level).stdout
    assert "late" in out
    assert ("GET" in out) is shown


def test_a_library_with_a_console_handler_of_its_own_is_taken_over(tmp_path: Path) -> None:
    """As torch has once it is imported: a handler on stderr, and no propagation."""
    library = (
        "import logging; t = logging.getLogger('torch'); t.addHandler(logging.StreamHandler()); t.propagate = False\n"
    )
    result = run_python(library + SETUP + "logging.getLogger('torch.distributed').warning('slow')", tmp_path)
    assert re.fullmatch(STAMP + r" \| WARNING \| slow\n", result.stdout)
    assert result.stderr == ""


# --- the end ----------------------------------------------------------------------------------------------------------


def test_an_uncaught_exception_is_once_in_the_file_and_once_on_the_console(tmp_path: Path) -> None:
    result = run_python(SETUP + "raise ValueError('boom')", tmp_path, **ranked(tmp_path))
    assert result.returncode == 1
    assert (result.stdout + result.stderr).count("ValueError: boom") == 1
    assert rank_log(tmp_path).read_text().count("ValueError: boom") == 1


def test_an_uncaught_exception_of_a_thread_is_in_the_file(tmp_path: Path) -> None:
    code = SETUP + "import threading\ndef work(): raise ValueError('boom')\nt = threading.Thread(target=work)\n"
    result = run_python(code + "t.start(); t.join()", tmp_path, **ranked(tmp_path))
    assert result.stderr.count("ValueError: boom") == 1
    assert rank_log(tmp_path).read_text().count("ValueError: boom") == 1


def test_the_values_of_variables_are_not_in_a_traceback(tmp_path: Path) -> None:
    code = (
        SETUP + "def f(key): raise ValueError\ntry:\n    f('s3' + 'cret')\nexcept ValueError:\n    log.exception('no')"
    )
    assert "s3cret" not in run_python(code, tmp_path).stdout


# --- trouble ----------------------------------------------------------------------------------------------------------


def test_a_second_setup_is_an_error_that_says_so(tmp_path: Path) -> None:
    result = run_python(SETUP + "launcher.setup_logger()", tmp_path)
    assert "RuntimeError: setup_logger() was called before; call it exactly once" in result.stderr


def test_an_unknown_level_is_refused(tmp_path: Path) -> None:
    assert "ValueError: Level 'LOUD'" in run_python(SETUP, tmp_path, LAUNCH_LOG_LEVEL="loud").stderr


def test_a_deleted_log_directory_comes_back_with_the_next_line(tmp_path: Path) -> None:
    code = SETUP + "import shutil; log.info('one'); shutil.rmtree('logs'); log.info('two')"
    assert run_python(code, tmp_path, **ranked(tmp_path)).returncode == 0
    assert "two" in rank_log(tmp_path).read_text()


def test_a_file_that_cannot_be_opened_leaves_the_console(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("not a directory")
    result = run_python(SETUP + "log.info('one')", tmp_path, **ranked(tmp_path))
    assert result.returncode == 0
    assert re.search(r"WARNING \| cannot write .*rank_1.log: Not a directory", result.stdout)
    assert "one" in result.stdout


def test_a_full_disk_does_not_end_the_process(tmp_path: Path) -> None:
    rank_log(tmp_path).parent.mkdir(parents=True)
    rank_log(tmp_path).symlink_to("/dev/full")
    result = run_python(SETUP + "log.info('one'); log.info('two')", tmp_path, **ranked(tmp_path))
    assert result.returncode == 0
    assert "two" in result.stdout


def test_a_full_console_does_not_change_the_exit_code(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SETUP + "log.info('one'); log.info('two')"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, env=clean_environment(tmp_path), stdout=full, stderr=full, timeout=240, check=False
        )
    assert done.returncode == 0


def test_a_forked_child_logs_to_the_same_file(tmp_path: Path) -> None:
    code = SETUP + "import os\npid = os.fork()\nlog.info('child' if pid == 0 else 'parent')\nif pid: os.waitpid(pid, 0)"
    run_python(code, tmp_path, **ranked(tmp_path))
    lines = rank_log(tmp_path).read_text().splitlines()
    assert sorted(line.split(" | ")[2] for line in lines) == ["child", "parent"]


def test_library_code_may_log_before_the_setup(tmp_path: Path) -> None:
    assert "early" in run_python("import launcher; launcher.get_logger().info('early')", tmp_path).stderr


def test_the_logger_loads_nothing_heavy(tmp_path: Path) -> None:
    code = SETUP + "import sys; print([m for m in ('torch', 'wandb', 'pydantic', 'numpy') if m in sys.modules])"
    assert run_python(code, tmp_path).stdout == "[]\n"
