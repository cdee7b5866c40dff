"""Why a run failed, in its own words, from files that may hold anything."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.failure.cause import LAST_LINES, SHOWN_COLUMNS, find_cause, last_words
from launcher.failure.failure import Culprit, Failure
from launcher.plan.spec import Plan
from tests.plans import component, plan_of, rl, sft

SIMPLE = """Traceback (most recent call last):
  File "train.py", line 3, in <module>
    main()
ValueError: no such thing"""

CHAINED = f"""Traceback (most recent call last):
  File "train.py", line 1, in <module>
    open(path)
FileNotFoundError: x

During handling of the above exception, another exception occurred:

{SIMPLE}"""

SHOWN = """ValueError: no such thing
  File "train.py", line 3, in <module>
    main()"""

SHOWN_CHAINED = f"""{SHOWN}
while handling FileNotFoundError: x
  File "train.py", line 1, in <module>
    open(path)"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "any.log"


def words(log: Path, text: str | bytes) -> str:
    log.write_bytes(text if isinstance(text, bytes) else text.encode())
    return last_words(log)


# --- the end of a log -------------------------------------------------------------------------------------------------


def test_of_several_unrelated_tracebacks_the_last_one_counts(log: Path) -> None:
    handled = SIMPLE.replace("no such thing", "handled")
    assert words(log, f"{handled}\n2026-01-01 00:00:00 went on\n{SIMPLE}\n") == SHOWN


def test_a_message_of_several_lines_is_kept(log: Path) -> None:
    assert words(log, f"{SIMPLE}\nallowed: a\n  or b\n").startswith("ValueError: no such thing\nallowed: a\n  or b\n")


def test_without_a_traceback_the_last_lines_are_shown(log: Path) -> None:
    found = words(log, "".join(f"line {n}\n\n" for n in range(1000))).splitlines()
    assert found[-1] == "line 999"
    assert len(found) == LAST_LINES


def test_what_torch_puts_before_each_line_of_a_ranks_traceback_is_removed(log: Path) -> None:
    prefixed = "".join(f"[rank1]: {line}\n" for line in SIMPLE.splitlines())
    assert words(log, f"starting\n{prefixed}[rank1]:[W101 00:00:00 process group was not destroyed\n").startswith(SHOWN)


def test_an_exception_that_torch_has_logged_is_found_although_each_of_its_lines_has_a_head(log: Path) -> None:
    code = """
from torch.distributed.elastic.utils.logging import get_logger
try:
    try:
        raise OSError("first")
    except OSError:
        raise ValueError("no such thing")
except ValueError:
    get_logger("torch.distributed.elastic").exception("error in log tailer")
"""
    logged = subprocess.run([sys.executable, "-c", code], check=True, stderr=subprocess.PIPE).stderr
    assert logged.count(b"] ") > 8  # the head is there
    assert words(log, logged).splitlines()[0] == "ValueError: no such thing"


VLLM = """\
(Worker pid=3) ERROR 11-27 19:10:45 [executor.py:1063] WorkerProc hit an exception.
(Worker pid=3) ERROR 11-27 19:10:45 [executor.py:1063] Traceback (most recent call last):
(Worker pid=3) ERROR 11-27 19:10:45 [executor.py:1063]   File "/app/worker.py", line 3, in step
(Worker pid=3) ERROR 11-27 19:10:45 [executor.py:1063]     attend()
(Worker pid=3) ERROR 11-27 19:10:45 [executor.py:1063] RuntimeError: no such head: 24
(Worker pid=3) ERROR 11-27 19:10:45 [executor.py:1063]
(EngineCore pid=2) ERROR 11-27 19:10:45 [core.py:1512] EngineCore encountered a fatal error.
(EngineCore pid=2) ERROR 11-27 19:10:45 [core.py:1512] Traceback (most recent call last):
(EngineCore pid=2) ERROR 11-27 19:10:45 [core.py:1512]   File "/app/core.py", line 99, in result
(EngineCore pid=2) ERROR 11-27 19:10:45 [core.py:1512]     raise RuntimeError(
(EngineCore pid=2) ERROR 11-27 19:10:45 [core.py:1512] RuntimeError: Worker failed, please check the \
stack trace above for the root cause
(EngineCore pid=2) INFO 11-27 19:10:45 [executor.py:479] [shutdown] Executor: waiting for worker exit count=1
"""
VLLM_REQUEST = """\
(APIServer pid=1) ERROR 11-27 19:10:45 [vllm_error.py:54] Engine Exception caught. Request id: None
(APIServer pid=1) ERROR 11-27 19:10:45 [vllm_error.py:54] Traceback (most recent call last):
(APIServer pid=1) ERROR 11-27 19:10:45 [vllm_error.py:54]   File "/app/async_llm.py", line 410, in add_request
(APIServer pid=1) ERROR 11-27 19:10:45 [vllm_error.py:54]     raise EngineDeadError()
(APIServer pid=1) ERROR 11-27 19:10:45 [vllm_error.py:54] EngineDeadError: EngineCore encountered an issue. See stack \
trace (above) for the root cause.
INFO:     127.0.0.1:40818 - "POST /v1/completions HTTP/1.1" 500 Internal Server Error
"""


@pytest.mark.parametrize("requests", [0, 1, 12_000])  # the last fill what is read of a log
def test_what_has_ended_vllms_worker_is_found_however_often_the_server_says_that_it_is_above(
    log: Path, requests: int
) -> None:
    found = words(log, f"{VLLM}{VLLM_REQUEST * requests}nanobind: leaked 514 functions!\n")
    assert found.splitlines() == [
        "RuntimeError: no such head: 24",
        '  File "/app/worker.py", line 3, in step',
        "    attend()",
    ]


def test_where_the_cause_above_is_not_in_the_log_the_traceback_that_points_to_it_is_shown(log: Path) -> None:
    assert words(log, VLLM_REQUEST).startswith("EngineDeadError: EngineCore encountered an issue.")


@pytest.mark.parametrize(
    "noise",
    [
        "\x1b[31m",
        "\x1b[0;1m",
        "\x1b[2K",
        "\x1b]0;a title\x07",
        "\x1b]8;;http://x\x1b\\",
        "\r",
        "\x00",
        "\x07",
        "\x08",
        "\x1b(B",
        "\x9b",
        "\u202e",
    ],
)
def test_what_is_meant_for_a_terminal_is_removed(log: Path, noise: str) -> None:
    assert words(log, f"one {noise}two\n{noise}three\n") == "one two\nthree"


def test_bytes_that_are_no_text_are_survived(log: Path) -> None:
    found = words(log, bytes(range(256)) * 100 + b"\nlast words\n")
    assert found.endswith("last words")
    assert all(char.isprintable() or char in "\n\t\x80\x85\x9f" or ord(char) >= 0x80 for char in found)


@pytest.mark.parametrize("content", [b"", b"\n \n\t\n"])
def test_an_empty_log_has_no_words(log: Path, content: bytes) -> None:
    assert words(log, content) == ""


def test_a_log_that_is_not_there_has_no_words(tmp_path: Path) -> None:
    assert last_words(tmp_path / "missing.log") == ""
    assert last_words(tmp_path) == ""


# --- the cause of a failure -------------------------------------------------------------------------------------------


def failed(plan: Plan, culprit: Culprit, *collateral: str) -> Failure:
    found = find_cause(plan, culprit, collateral)
    assert found
    return found


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """RL with two ranks, of which rank 0 is shown."""
    made = plan_of(rl("--nproc", "2", "--filter-rank", "0"), root=tmp_path)
    made.run.logs.mkdir(parents=True)
    return made


def rank_file(plan: Plan, rank: int, name: str, text: str | bytes, restart: int = 0) -> Path:
    ranks = component(plan, "trainer").ranks
    assert ranks
    path = ranks.directory / f"attempt_{restart}" / str(rank) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def recorded(text: str, timestamp: object = "1700000000") -> str:
    """error.json as torch's `record` writes it."""
    return json.dumps({"message": {"message": "x", "extraInfo": {"py_callstack": text, "timestamp": timestamp}}})


def test_a_run_that_did_not_fail_has_no_cause(plan: Plan) -> None:
    assert find_cause(plan, None) is None


def test_a_component_is_asked_through_its_log(plan: Plan) -> None:
    log = component(plan, "inference").log
    log.write_text(f"loading\n{SIMPLE}\n")
    assert failed(plan, Culprit("inference", "exit code 1"), "trainer", "orchestrator") == Failure(
        "inference", None, "exit code 1", SHOWN, log, ("trainer", "orchestrator")
    )


def test_a_culprit_is_not_its_own_collateral(plan: Plan) -> None:
    assert failed(plan, Culprit("trainer", "exit code 1", rank=1), "orchestrator", "trainer").collateral == (
        "orchestrator",
    )


def test_a_rank_that_was_filtered_from_the_console_still_tells_its_cause(plan: Plan) -> None:
    stderr = rank_file(plan, 1, "stderr.log", f"{SIMPLE}\n")
    rank_file(plan, 0, "stderr.log", "collateral")
    found = failed(plan, Culprit("trainer", "exit code 1", rank=1, exit_code=1))
    assert (found.rank, found.cause, found.log) == (1, SHOWN, stderr)


def test_what_a_rank_recorded_comes_before_the_end_of_its_stderr(plan: Plan) -> None:
    rank_file(plan, 1, "stderr.log", "something else")
    rank_file(plan, 1, "error.json", recorded(CHAINED))
    assert failed(plan, Culprit("trainer", "exit code 1", rank=1)).cause == SHOWN_CHAINED


def test_without_words_on_stderr_a_ranks_stdout_is_asked(plan: Plan) -> None:
    rank_file(plan, 1, "stderr.log", "")
    rank_file(plan, 1, "stdout.log", "out of luck\n")
    assert failed(plan, Culprit("trainer", "exit code 1", rank=1)).cause == "out of luck"


def test_a_rank_without_files_is_asked_through_the_components_log(plan: Plan) -> None:
    log = component(plan, "trainer").log
    log.write_text("a launch failed\n")
    found = failed(plan, Culprit("trainer", "exit code 1", rank=1))
    assert (found.cause, found.log) == ("a launch failed", log)


def test_without_any_file_the_failure_is_told_all_the_same(plan: Plan) -> None:
    for culprit in (Culprit("trainer", "SIGKILL", rank=0), Culprit("trainer", "x"), Culprit("inference", "x")):
        assert failed(plan, culprit).cause == ""


def test_a_rank_that_raised_before_the_one_that_was_seen_to_end_first_is_the_culprit(plan: Plan) -> None:
    rank_file(plan, 0, "error.json", recorded("Connection closed by peer", 102))
    rank_file(plan, 1, "error.json", recorded(SIMPLE, 100))
    found = failed(plan, Culprit("trainer", "exit code 1", rank=0, exit_code=1))
    assert (found.rank, found.what) == (1, "raised an exception, 2 s before rank 0 did")
    assert found.cause == SHOWN


@pytest.mark.parametrize("time", [100, None])
def test_ranks_that_raised_within_the_same_second_are_told_apart_by_who_ended_first(
    plan: Plan, time: int | None
) -> None:
    for rank in (0, 1):
        rank_file(plan, rank, "error.json", recorded(f"error of rank {rank}", time))
    found = failed(plan, Culprit("trainer", "exit code 1", rank=1, exit_code=1))
    assert (found.rank, found.what, found.cause) == (1, "exit code 1", "error of rank 1")


def test_a_rank_that_was_killed_stays_the_culprit_of_what_its_peers_raise(plan: Plan) -> None:
    rank_file(plan, 0, "error.json", recorded("Connection closed by peer", 100))
    found = failed(plan, Culprit("trainer", "SIGKILL", rank=1, exit_code=-9))
    assert (found.rank, found.what) == (1, "SIGKILL")


def test_when_torchrun_failed_the_rank_whose_error_is_oldest_is_the_culprit(plan: Plan) -> None:
    rank_file(plan, 0, "error.json", recorded("peer went silent", "1700000009"))
    rank_file(plan, 1, "error.json", recorded(SIMPLE, "1700000001"))
    found = failed(plan, Culprit("trainer", "exit code 1", exit_code=1))
    assert (found.rank, found.cause) == (1, SHOWN)


@pytest.mark.parametrize("named", ["15", "SIGTERM", "Signals.SIGTERM"])
def test_a_torchrun_that_was_sent_a_signal_is_the_culprit_itself(plan: Plan, named: str) -> None:
    component(plan, "trainer").log.write_text(f"W1123 Received {named} death signal, shutting down workers\n")
    failure = failed(plan, Culprit("trainer", "exit code 1", exit_code=1))
    assert (failure.rank, failure.what) == (None, "torchrun received SIGTERM")


@pytest.mark.parametrize(("rank", "code"), [("99999999", "1"), ("2", "1"), ("1", "99999"), ("9" * 5000, "1")])
def test_a_log_that_names_a_rank_or_a_code_that_cannot_be_is_not_believed(plan: Plan, rank: str, code: str) -> None:
    report = f"Root Cause (first observed failure):\n  rank: 1 (local_rank: {rank})\n  exitcode  : {code} (pid: 7)\n"
    component(plan, "trainer").log.write_text(report)
    failure = failed(plan, Culprit("trainer", "exit code 1", exit_code=1))
    assert (failure.rank, failure.what) == (None, "exit code 1")


def test_a_torchrun_that_was_told_to_end_by_us_is_not_said_to_have_received_a_signal(plan: Plan) -> None:
    component(plan, "trainer").log.write_text("W1123 Received 15 death signal, shutting down workers\n")
    assert failed(plan, Culprit("trainer", "did not finish in time")).what == "did not finish in time"


def test_the_newest_restart_tells_why_it_was_the_last(plan: Plan) -> None:
    rank_file(plan, 1, "error.json", recorded("of an earlier restart", "1700000001"), restart=9)
    rank_file(plan, 0, "error.json", recorded(SIMPLE, "1700000009"), restart=10)
    rank_file(plan, 1, "stderr.log", "terminated", restart=10)
    found = failed(plan, Culprit("trainer", "exit code 1"))
    assert (found.rank, found.cause) == (0, SHOWN)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe\x00",
        b'{"message": null}',
        b'{"message": 3}',
        b'{"message": {}}',
        b'{"message": {"message": null, "extraInfo": null}}',
        b'{"message": {"extraInfo": {"timestamp": "soon", "py_callstack": ["a"]}}}',
        b'{"message": {"extraInfo": "x"}}',
        b'{"message": {"extraInfo": {"timestamp": "%s", "py_callstack": "a"}}}' % (b"9" * 5000),
        b"[" * 200_000,
    ],
)
@pytest.mark.parametrize("rank", [1, None])
def test_any_error_file_is_survived(plan: Plan, content: bytes, rank: int | None) -> None:
    rank_file(plan, 1, "error.json", content)
    rank_file(plan, 1, "stderr.log", SIMPLE)
    assert failed(plan, Culprit("trainer", "exit code 1", rank=rank)).component == "trainer"


@pytest.mark.parametrize(("content", "cause"), [('{"message": "in words"}', "in words"), (recorded("", None), "x")])
def test_other_forms_of_an_error_file_are_understood(plan: Plan, content: str, cause: str) -> None:
    rank_file(plan, 1, "error.json", content)
    assert failed(plan, Culprit("trainer", "exit code 1", rank=1)).cause == cause


def test_a_line_of_ten_megabytes_does_not_flood_the_console(plan: Plan) -> None:
    component(plan, "inference").log.write_bytes(b"x" * 10_000_000)
    cause = failed(plan, Culprit("inference", "exit code 1")).cause
    assert len(cause) < SHOWN_COLUMNS + 100
    assert cause.endswith("more characters)")


def test_a_culprit_that_is_no_component_points_to_the_launchers_log(plan: Plan) -> None:
    found = failed(plan, Culprit("launch", "its guard process was killed"), "trainer")
    assert (found.component, found.log, found.collateral) == ("launch", plan.run.launcher_log, ("trainer",))


def test_a_trainer_without_torchrun_is_asked_through_its_log(tmp_path: Path) -> None:
    plan = plan_of(sft("--trainer.command", "mine"), root=tmp_path)
    plan.run.logs.mkdir(parents=True)
    component(plan, "trainer").log.write_text("alas\n")
    assert failed(plan, Culprit("trainer", "exit code 1")).cause == "alas"
