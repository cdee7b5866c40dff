"""`launch logs` on run directories as real runs leave them."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from launcher.commands.logs import find_logs
from launcher.config.torchrun import TorchrunConfig
from launcher.errors import UserError
from launcher.plan.torchrun import plan_ranks
from launcher.processes.identity import identify
from launcher.rundir import RunDir
from launcher.runs.state import ProcessState, RankState, open_run
from launcher.runs.state_file import torchrun_state
from launcher.view.logs import follow
from launcher.view.logs.follow import LogView, last_lines
from launcher.view.logs.long_lines import LONGEST_LINE
from launcher.view.logs.request import LogRequest, select
from tests.children import stopped
from tests.colours import without_colours
from tests.states import state_of
from tests.waiting import until

DAY = "2026-11-23"
TRACEBACK = 'Traceback (most recent call last):\n  File "a.py", line 1, in <module>\nValueError: wrong\n'


class Run:
    """A run directory with a trainer of two ranks and an inference server."""

    def __init__(self, root: Path) -> None:
        self.dir = RunDir(root / "otter")
        self.torchrun = "[trainer.torchrun]\n"
        self.settings = TorchrunConfig()
        self.log_dir: Path | None = None
        self.write_state("finished")

    def write_state(self, state: str, attempt: int = 1) -> None:
        self.dir = RunDir(self.dir.root, attempt)
        self.dir.logs.mkdir(parents=True, exist_ok=True)
        ranks = [RankState(rank=rank, log=self.rank_file(rank)) for rank in range(2)]
        processes = [ProcessState(name="trainer", log=self.dir.component_log("trainer"), ranks=ranks)]
        processes[0].log_dir = self.log_dir
        place, rendezvous = self.log_dir or self.dir.torchrun, f"{self.dir.root.name}-{attempt}"
        processes[0].torchrun = torchrun_state(plan_ranks(self.settings, 2, place, rendezvous))
        processes.append(ProcessState(name="inference", log=self.dir.component_log("inference")))
        supervisor = identify(os.getpid())
        written = state_of(self.dir, kind="rl", state=state, supervisor=supervisor, started=0, processes=processes)
        self.dir.state.write_text(written.model_dump_json())
        self.dir.config.write_text(self.torchrun)

    def rank_file(self, rank: int, stream: str = "stdout") -> Path:
        return self.dir.torchrun / f"otter-{self.dir.attempt}" / "attempt_0" / str(rank) / f"{stream}.log"

    def rank(self, rank: int, text: str | bytes, stream: str = "stdout") -> None:
        self.write(self.rank_file(rank, stream), text)

    def component(self, name: str, text: str | bytes) -> None:
        self.write(self.dir.component_log(name), text)

    def write(self, path: Path, text: str | bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(text.encode() if isinstance(text, str) else text)

    def view(self, colours: bool = False, **request: Any) -> LogView:
        labels = request.pop("labels", True)
        every_line = request.pop("every_line", False)
        selection = select(*open_run(self.dir.root), LogRequest(**request))
        view = LogView(selection, labels=labels, colours=colours, every_line=every_line)
        view.find_logs()
        return view

    def raw(self, **request: Any) -> bytes:
        return b"".join(self.view(**request).new_lines(final=True))

    def shown(self, **request: Any) -> list[str]:
        """The lines, without the padding of their labels."""
        return [re.sub(r" +\| ", " | ", line, count=1) for line in self.raw(**request).decode().splitlines()]

    def messages(self, **request: Any) -> list[str]:
        """What stands behind the last bar of each line."""
        return [line.rsplit("| ", 1)[-1] for line in self.shown(**request)]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return Run(tmp_path)


def line(second: float, message: str, level: str = "INFO") -> str:
    return f"{DAY} 03:10:{second:06.3f} | {level:<7} | {message}\n"


# --- order and sources ------------------------------------------------------------------------------------------------


def test_components_and_ranks_are_merged_by_time_and_named(run: Run) -> None:
    run.component("launcher", line(1, "trainer: started"))
    run.rank(1, line(2, "b") + line(5, "e"))
    run.rank(0, line(4, "d"))
    run.component("inference", line(3, "c"))
    assert run.shown() == [
        f"launcher | {line(1, 'trainer: started')}".rstrip("\n"),
        f"trainer 1 | {line(2, 'b')}".rstrip("\n"),
        f"inference | {line(3, 'c')}".rstrip("\n"),
        f"trainer 0 | {line(4, 'd')}".rstrip("\n"),
        f"trainer 1 | {line(5, 'e')}".rstrip("\n"),
    ]


def test_a_line_that_stands_in_three_files_is_shown_once(run: Run) -> None:
    run.rank(0, line(1, "hello"))
    run.write(run.dir.rank_log(0), line(1, "hello"))
    run.component("trainer", "[trainer0]:" + line(1, "hello"))
    assert run.messages() == ["hello"]


def test_what_torchrun_itself_says_is_the_trainers(run: Run) -> None:
    run.component("trainer", f"[trainer0]:{line(1, 'hello')}W1123 03:10:02.000000 7 api.py:1] death signal\n")
    assert run.shown() == ["trainer | W1123 03:10:02.000000 7 api.py:1] death signal"]


def test_without_redirected_files_a_shown_rank_is_read_from_the_components_log_and_a_hidden_one_from_its_own(
    run: Run,
) -> None:
    run.settings = TorchrunConfig(redirects="0", tee="0:0,1:0", local_ranks_filter=(0,))
    run.write_state("finished")
    run.component("trainer", line(1, "shown"))
    run.write(run.dir.rank_log(0), line(1, "shown"))
    run.write(run.dir.rank_log(1), line(2, "hidden"))
    assert run.messages() == ["shown", "hidden"]


def test_the_ranks_lines_are_found_without_the_runs_configuration(run: Run) -> None:
    run.settings = TorchrunConfig(redirects="0", tee="0:0,1:0", role="learner", local_ranks_filter=(0, 1))
    run.write_state("finished")
    run.dir.config.unlink()
    run.component("trainer", f"[learner0]:{line(1, 'first')}[learner1]:{line(2, 'second')}")
    assert run.shown() == [
        f"trainer 0 | {line(1, 'first')}".rstrip("\n"),
        f"trainer 1 | {line(2, 'second')}".rstrip("\n"),
    ]


def test_files_below_another_log_dir_are_found(run: Run, tmp_path: Path) -> None:
    run.log_dir = tmp_path / "else where"
    run.write_state("finished")
    run.write(tmp_path / "else where/otter-1/attempt_0/1/stdout.log", line(1, "hello"))
    assert run.shown() == [f"trainer 1 | {line(1, 'hello')}".rstrip("\n")]


# --- what is not the run's --------------------------------------------------------------------------------------------


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A directory outside the run with files that are called like its logs."""
    for name in ("inference.log", "attempt_1/inference.log", "otter-1/attempt_0/0/stdout.log"):
        (tmp_path / "secret" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "secret" / name).write_text(line(1, "secret"))
    return tmp_path / "secret"


@pytest.mark.parametrize(
    ("planted", "target"),
    [
        ("logs/attempt_1/inference.log", "inference.log"),
        ("logs/attempt_1/torchrun", "."),
        ("logs/attempt_1/torchrun/otter-1/attempt_0/0", "otter-1/attempt_0/0"),
        ("logs/attempt_1", "attempt_1"),
        ("logs", "."),
    ],
)
def test_a_link_that_leads_outside_the_logs_is_not_shown_and_said_once(
    run: Run, secret: Path, planted: str, target: str
) -> None:
    link = run.dir.root / planted
    shutil.rmtree(link, ignore_errors=True)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(secret / target)
    view = run.view()
    assert b"".join(view.new_lines(final=True)) == b""
    troubles = view.new_troubles()
    assert any("is not shown: leads outside" in trouble for trouble in troubles)
    list(view.new_lines(final=True))
    assert view.new_troubles() == []


def test_a_link_that_stays_within_the_logs_is_followed(run: Run) -> None:
    run.component("inference", line(1, "hello"))
    run.dir.component_log("inference").rename(run.dir.logs / "real.log")
    run.dir.component_log("inference").symlink_to("real.log")
    run.dir.torchrun.symlink_to("ranks")
    run.write(run.dir.logs / "ranks/otter-1/attempt_0/0/stdout.log", line(2, "there"))
    assert run.messages() == ["hello", "there"]


def test_a_log_dir_that_only_config_toml_names_is_not_looked_into(run: Run, secret: Path) -> None:
    for torchrun in (f"log_dir = '{secret}'", f"rdzv_id = '{secret}/otter'"):
        run.torchrun = f"[trainer.torchrun]\n{torchrun}\n"
        run.write_state("finished")
        assert run.shown() == []


def test_of_a_log_dir_elsewhere_only_files_of_the_runs_owner_are_shown(run: Run, secret: Path) -> None:
    run.log_dir = secret
    run.write_state("finished")
    (secret / "otter-1/attempt_0/1").mkdir()
    (secret / "otter-1/attempt_0/1/stdout.log").symlink_to("/etc/passwd")
    assert run.messages() == ["secret"]
    if os.geteuid() == 0:
        os.chown(secret / "otter-1/attempt_0/0/stdout.log", 4711, -1)
        view = run.view()
        assert b"".join(view.new_lines(final=True)) == b""
        assert any("is uid 4711's, unlike the run" in trouble for trouble in view.new_troubles())


def test_the_command_says_on_stderr_what_it_does_not_show(run: Run, secret: Path) -> None:
    run.component("launcher", line(1, "hello"))
    run.dir.component_log("inference").symlink_to(secret / "inference.log")
    os.mkfifo(run.dir.component_log("trainer"))
    command = [sys.executable, "-m", "launcher", "logs", str(run.dir.root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert (done.returncode, "hello" in done.stdout, "secret" in done.stdout) == (0, True, False)
    assert sorted(line.split(" is not shown: ")[1].split(" /")[0] for line in done.stderr.splitlines()) == [
        "is not a regular file",
        "leads outside",
    ]


# --- restarts, streams, stamps ----------------------------------------------------------------------------------------


def test_restarts_of_the_workers_by_torchrun_are_shown_too(run: Run) -> None:
    run.rank(0, line(1, "first"))
    run.write(run.dir.torchrun / "otter-1/attempt_1/0/stdout.log", line(2, "second"))
    assert run.messages() == ["first", "second"]


def test_a_traceback_on_stderr_stands_where_its_file_was_last_written(run: Run) -> None:
    run.rank(0, line(1, "before") + line(9, "after"))
    run.rank(0, TRACEBACK, "stderr")
    moment = time.mktime(time.strptime(f"{DAY} 03:10:05", "%Y-%m-%d %H:%M:%S"))
    os.utime(run.rank_file(0, "stderr"), (moment, moment))
    assert [message.split(":")[0].strip() for message in run.messages()][::4] == ["before", "after"]


def test_lines_without_a_stamp_stay_with_the_line_before_them(run: Run) -> None:
    run.rank(0, line(1, "one") + "  more\nof it\n" + line(3, "three"))
    run.rank(1, line(1, "uno") + line(2, "two"))
    assert run.messages() == ["one", "  more", "of it", "uno", "two", "three"]


def test_stamps_of_foreign_programs_are_understood(run: Run) -> None:
    run.rank(0, line(1, "ours") + line(6, "last"))
    run.component("inference", f"INFO 11-23 03:10:02 [api.py:7] vllm\n[{DAY} 03:10:03,500][root][INFO] - hydra\n")
    run.rank(1, f'{{"time": "{DAY}T03:10:04.000+00:00", "level": "INFO", "message": "json"}}\n')
    run.rank(1, "[rank1]:[W1123 03:10:05.000000000 socket.cpp:1] torch\n", "stderr")
    words = [re.sub(r".*(ours|vllm|hydra|json|torch|last).*", r"\1", text) for text in run.messages()]
    assert words == ["ours", "vllm", "hydra", "json", "torch", "last"]


def test_a_clock_that_goes_back_loses_no_line_and_does_not_stop_the_merge(run: Run) -> None:
    jumping = [line(50 - number % 50, f"a{number}") for number in range(5000)]
    run.rank(0, "".join(jumping))
    run.rank(1, "".join(line(number / 100, f"b{number}") for number in range(5000)))
    assert sorted(run.messages()) == sorted([f"{rank}{number}" for rank in "ab" for number in range(5000)])


def test_entries_of_one_log_with_equal_stamps_keep_their_order(run: Run) -> None:
    for rank in range(2):
        run.rank(rank, "".join(line(1, f"{rank} {number}") for number in range(10_000, 0, -1)))
    for rank in range(2):
        assert run.messages(ranks=(rank,)) == [f"{rank} {number}" for number in range(10_000, 0, -1)]


def test_large_logs_come_out_sorted_and_whole(run: Run) -> None:
    for rank in range(2):
        run.rank(rank, "".join(line(number * 0.002 + rank * 0.001, "x") for number in range(20_000)))
    lines = run.raw(labels=False, every_line=True).splitlines()
    assert len(lines) == 40_000
    assert lines == sorted(lines)


# --- filters ----------------------------------------------------------------------------------------------------------


def test_a_component_or_a_rank_alone(run: Run) -> None:
    run.rank(0, line(1, "zero"))
    run.rank(1, line(2, "one"))
    run.component("inference", line(3, "serving"))
    assert run.messages(component="inference") == ["serving"]
    assert run.messages(component="trainer") == ["zero", "one"]
    assert run.messages(ranks=(1,)) == ["one"]


def test_a_level_keeps_itself_and_those_above_with_what_belongs_to_them(run: Run) -> None:
    run.rank(0, line(1, "fine") + "  more\n" + line(2, "careful", "WARNING") + line(3, "bad", "ERROR") + "  why\n")
    assert run.messages(level="warning") == ["careful", "bad", "  why"]


def test_a_level_is_found_in_json_lines(run: Run) -> None:
    for number, level in enumerate(("INFO", "ERROR")):
        run.rank(0, f'{{"time": "{DAY}T03:10:0{number}.000+00:00", "level": "{level}", "message": "m"}}\n')
    assert len(run.shown(level="ERROR")) == 1


def test_a_traceback_is_an_error_whatever_line_it_stands_below(run: Run) -> None:
    run.component("inference", line(1, "fine") + line(2, "last words") + TRACEBACK + line(3, "fine"))
    run.rank(0, TRACEBACK, "stderr")
    found = run.messages(level="ERROR")
    assert "last words" in found
    assert "fine" not in found
    assert found.count("ValueError: wrong") == 2


def test_a_text_keeps_the_whole_entry_in_which_it_stands(run: Run) -> None:
    run.rank(0, line(1, "one") + line(2, "two", "ERROR") + TRACEBACK + line(3, "three"))
    assert run.messages(grep="Value.*wrong") == ["two", *TRACEBACK.splitlines()]


def test_lines_before_any_stamp_are_filtered_one_by_one(run: Run) -> None:
    run.rank(0, "loading\nready\n" + TRACEBACK)
    assert run.messages(grep="ready") == ["ready"]
    assert run.messages(grep="wrong") == TRACEBACK.splitlines()


def test_since_takes_a_time_or_how_long_ago(run: Run) -> None:
    run.rank(0, line(1, "old") + line(2, "new"))
    assert run.messages(since=f"{DAY} 03:10:02") == ["new"]
    run.rank(1, time.strftime("%Y-%m-%d %H:%M:%S.000 | INFO    | now\n"))
    assert "now" in run.messages(since="10m")


# --- attempts and mistakes --------------------------------------------------------------------------------------------


def test_the_newest_attempt_is_shown_unless_another_is_asked_for(run: Run) -> None:
    run.rank(0, line(1, "first"))
    run.write_state("finished", attempt=2)
    run.rank(0, line(2, "second"))
    assert run.messages() == ["second"]
    assert run.messages(attempt=1) == ["first"]


@pytest.mark.parametrize(
    ("request_", "allowed"),
    [
        ({"attempt": 3}, "its attempts: 1"),
        ({"component": "orchestrator"}, "launcher, trainer, inference"),
        ({"ranks": (5,)}, "its ranks: 0 to 1"),
        ({"component": "inference", "ranks": (0,)}, "has no ranks"),
        ({"level": "LOUD"}, "TRACE, DEBUG, INFO"),
        ({"since": "yesterday"}, "30s, 10m"),
        ({"grep": "("}, "not a regular expression"),
    ],
)
def test_a_mistake_is_answered_with_what_there_is(run: Run, request_: dict[str, Any], allowed: str) -> None:
    with pytest.raises(UserError) as raised:
        run.shown(**request_)
    assert allowed in str(raised.value)


def test_a_component_in_place_of_a_run_is_that_of_the_newest_run(run: Run) -> None:
    Path("outputs").mkdir()
    run.dir.root.rename(Path("outputs", "otter"))
    (_, state), component = find_logs("inference", None)
    assert (state.name, component) == ("otter", "inference")


# --- what is written --------------------------------------------------------------------------------------------------


def test_escape_sequences_control_characters_and_overwritten_text_are_stripped(run: Run) -> None:
    run.rank(0, line(1, "\x1b[31mred\x1b[0m \x1b]0;title\x07bell\x07 \x0e"))
    run.rank(0, "\r 10%\r 100%\n")
    assert run.messages() == ["red bell ", " 100%"]


def test_bytes_that_are_not_utf_8_are_shown_as_they_are(run: Run) -> None:
    run.rank(0, b"\xff\xfe binary\n" + line(1, "after").encode())
    assert b"\xff\xfe binary\n" in run.raw()
    assert b"after\n" in run.raw()


def test_of_a_line_of_ten_megabytes_the_beginning_is_shown_and_how_much_was_left_out(run: Run) -> None:
    run.rank(0, line(1, "x" * 10_000_000) + line(2, "after"))
    first, second = run.messages()
    left_out = 10_000_000 + len(line(1, "")) - 1 - LONGEST_LINE
    assert first == "x" * (10_000_000 - left_out) + f" ... {left_out} more bytes, in {run.rank_file(0)}"
    assert second == "after"


def test_a_long_line_is_not_cut_within_a_character_and_one_that_fits_not_at_all(run: Run) -> None:
    stamp = len(line(1, "")) - 1
    run.rank(0, line(1, "x" * (LONGEST_LINE - stamp)) + line(2, "y" + "é" * LONGEST_LINE) + line(3, "after"))
    whole, cut, after = run.messages()
    assert whole == "x" * (LONGEST_LINE - stamp)
    assert set(cut.partition(" ... ")[0]) == {"y", "é"}
    assert after == "after"


def test_a_long_last_line_without_an_end_says_what_was_left_out(run: Run) -> None:
    run.rank(0, "x" * (LONGEST_LINE + 3))
    assert " ... 3 more bytes, in " in run.raw().decode()


def test_of_a_progress_bar_the_last_state_is_shown_however_long_it_has_become(run: Run) -> None:
    run.rank(0, "".join(f"\r{percent}%" + " " * 10_000 for percent in range(101)))
    assert [message.rstrip() for message in run.messages()] == ["100%"]


def peak_memory(command: list[str | Path]) -> int:
    """Bytes, of a command that must succeed."""
    code = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
    code += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=True)
    return int(done.stdout) * 1024


@pytest.mark.slow
def test_a_line_of_200_megabytes_takes_no_more_memory_than_others(run: Run) -> None:
    launch = Path(sys.executable).with_name("launch")
    run.rank(0, line(1, "usual"))
    usual = peak_memory([launch, "logs", run.dir.root])
    for _ in range(200):
        run.component("inference", b"x" * 1_000_000)
    assert peak_memory([launch, "logs", run.dir.root]) < usual + 20_000_000


def test_a_last_line_without_an_end_is_shown(run: Run) -> None:
    run.rank(0, line(1, "whole") + line(2, "torn").rstrip("\n"))
    assert run.messages() == ["whole", "torn"]


def test_labels_and_levels_have_colours_when_asked_for(run: Run) -> None:
    run.rank(0, line(1, "bad", "ERROR") + "more\n")
    coloured = run.raw(colours=True)
    assert b"\x1b[31mERROR\x1b[0m" in coloured
    assert without_colours(coloured.decode()) == run.raw().decode()


# --- following --------------------------------------------------------------------------------------------------------


class Following:
    """A `launch logs -f` in a process of its own."""

    def __init__(self, run: Run, *options: str) -> None:
        launch = Path(sys.executable).with_name("launch")
        self.file = run.dir.root / "shown.txt"
        with self.file.open("wb") as output:
            words = [launch, "logs", run.dir.root, "-f", *options]
            self.process = subprocess.Popen(words, stdout=output, stderr=output)

    def wait_for(self, text: str) -> None:
        until(lambda: text in self.file.read_text())

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def following(run: Run) -> Iterator[Following]:
    run.write_state("running")
    run.rank(0, line(1, "first"))
    process = Following(run)
    process.wait_for("first")
    yield process
    process.end()


def test_following_shows_new_lines_and_new_files_and_ends_with_the_run(run: Run, following: Following) -> None:
    run.rank(0, line(2, "second"))
    following.wait_for("second")
    run.rank(1, line(3, "another rank"))
    following.wait_for("another rank")
    run.rank(1, "torn")
    run.write_state("finished")
    assert following.process.wait(240) == 0
    assert following.file.read_text().endswith("torn\n")


def test_following_survives_a_log_that_is_truncated_replaced_or_deleted(run: Run, following: Following) -> None:
    log = run.rank_file(0)
    os.truncate(log, 0)
    run.rank(0, line(2, "new"))  # shorter than what was there, or nobody could tell
    following.wait_for("new")
    run.write(log.with_name("beside"), line(3, "another file"))
    log.with_name("beside").replace(log)
    following.wait_for("another file")
    log.unlink()
    run.rank(1, line(4, "go on"))
    following.wait_for("go on")
    assert following.file.read_text().count("first") == 1


def test_a_traceback_that_comes_long_after_the_line_above_it_is_an_error_too(run: Run) -> None:
    run.component("inference", line(1, "fine"))
    view = run.view(level="ERROR")
    assert [b"".join(view.new_lines(final=False)) for _ in range(3)] == [b""] * 3
    run.component("inference", TRACEBACK)
    assert b"ValueError: wrong" in b"".join(view.new_lines(final=True))


def test_ctrl_c_ends_following_without_a_traceback(run: Run, following: Following) -> None:
    following.process.send_signal(signal.SIGINT)
    assert following.process.wait(240) == 130
    assert "Traceback" not in following.file.read_text()


def test_following_ends_as_soon_as_nobody_reads(run: Run) -> None:
    run.write_state("running")
    run.rank(0, line(1, "first") + line(2, "second"))
    launch = Path(sys.executable).with_name("launch")
    with subprocess.Popen(
        [launch, "logs", run.dir.root, "-f"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout and "first" in process.stdout.readline()
        process.stdout.close()
        assert process.wait(240) == 0
        assert process.stderr and process.stderr.read() == ""


def test_starting_imports_nothing_that_is_slow() -> None:
    code = "import sys, launcher.view.logs.follow, launcher.view.logs.request; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"rich", "loguru", "torch", "libtmux", "numpy"} & set(done.stdout.split())


# --- what several ranks log alike -------------------------------------------------------------------------------------


def test_what_ranks_log_alike_within_a_second_is_shown_once(run: Run) -> None:
    run.rank(0, line(1, "loading") + line(2, "loss 1"))
    run.rank(1, line(1.9, "loading") + line(2, "loss 2"))
    assert run.shown() == [
        f"trainer | {line(1, '[ranks 0-1] loading')}".rstrip("\n"),
        f"trainer 0 | {line(2, 'loss 1')}".rstrip("\n"),
        f"trainer 1 | {line(2, 'loss 2')}".rstrip("\n"),
    ]
    assert run.raw(labels=False).decode().splitlines()[0] == line(1, "[ranks 0-1] loading").rstrip("\n")


def test_every_line_is_shown_when_asked_for_and_of_a_rank_alone(run: Run) -> None:
    for rank in range(2):
        run.rank(rank, line(1, "loading"))
    assert run.messages(every_line=True) == ["loading", "loading"]
    assert run.messages(ranks=(1,)) == ["loading"]


def test_lines_more_than_a_second_apart_are_two_even_when_much_lies_between_what_is_read(run: Run) -> None:
    for rank in range(2):
        between = "".join(line(number / 1000, f"{rank} {number}") for number in range(5000, 25_000))
        run.rank(rank, line(1 + 1.1 * rank, "saved") + between + line(30 + rank * 0.9, "saved"))
    assert [message for message in run.messages() if "saved" in message] == ["saved", "saved", "[ranks 0-1] saved"]
    assert len(run.messages()) == 40_003


def test_a_line_that_one_rank_has_more_does_not_keep_those_before_and_after_it_from_being_folded(run: Run) -> None:
    for rank in range(2):
        lines = [line(step / 20 + rank / 1000, f"step {step}") for step in range(1100)]
        if rank:
            lines.insert(501, line(25.01, "only here"))
        run.rank(rank, "".join(lines))
    folded = [f"[ranks 0-1] step {step}" for step in range(1100)]
    assert run.messages() == [*folded[:501], "only here", *folded[501:]]


def test_what_a_rank_repeats_is_not_folded_away(run: Run) -> None:
    run.rank(0, line(1, "retrying") + line(1.1, "retrying") + line(1.2, "retrying"))
    run.rank(1, line(1.05, "retrying") + line(1.3, "retrying"))
    assert run.messages() == ["[ranks 0-1] retrying", "[ranks 0-1] retrying", "retrying"]


def test_tracebacks_and_stamps_of_other_programs_are_folded_and_json_is_not(run: Run) -> None:
    json_line = f'{{"time": "{DAY}T03:10:04.000+00:00", "level": "INFO", "message": "m"}}'
    for rank in range(2):
        run.rank(rank, line(1, "fine", "ERROR") + TRACEBACK)
        run.rank(rank, f"W1123 03:10:03.00{rank}000 {4711 + rank} torch/api.py:1] careful\n{json_line}\n")
    shown = run.shown()
    assert shown[0].endswith("ERROR   | [ranks 0-1] fine")
    assert shown[1:4] == [f"trainer | {text}" for text in TRACEBACK.splitlines()]
    assert shown[4] == "trainer | [ranks 0-1] W1123 03:10:03.000000 4711 torch/api.py:1] careful"
    assert shown[5:] == [f"trainer {rank} | {json_line}" for rank in range(2)]


def test_what_a_server_logs_is_its_own_though_ranks_log_the_same(run: Run) -> None:
    run.component("inference", line(1, "ready"))
    for rank in range(2):
        run.rank(rank, line(1, "ready"))
    assert sorted(run.messages()) == ["[ranks 0-1] ready", "ready"]


def test_folded_labels_have_the_colours_and_the_width_of_others(run: Run) -> None:
    for rank in range(2):
        run.rank(rank, line(1, "alike") + line(3, f"rank {rank}"))
    coloured = run.raw(colours=True)
    assert without_colours(coloured.decode()) == run.raw().decode()
    assert {found.index(" | ") for found in run.raw().decode().splitlines()} == {len("inference")}


def test_lines_of_ranks_without_any_time_are_folded_in_bounded_memory(run: Run) -> None:
    for rank in range(2):
        run.rank(rank, "".join(f"batch {number}\n" for number in range(100_000)))
        os.utime(run.rank_file(rank), (1e9, 1e9))
    assert run.messages() == [f"[ranks 0-1] batch {number}" for number in range(100_000)]


@pytest.mark.parametrize("is_new", [True, False])
def test_a_line_that_is_read_late_is_folded_with_what_is_held(
    run: Run, monkeypatch: pytest.MonkeyPatch, is_new: bool
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(follow, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    run.rank(0, line(1, "loading"))
    run.rank(1, b"") if not is_new else None
    view = run.view()

    def looked() -> bytes:
        return b"".join(view.new_lines(final=False))

    shown = looked() + looked()
    run.rank(1, line(1, "loading"))
    clock[0] += 10  # the machine was busy with something else
    shown += looked()
    view.find_logs()
    clock[0] += 1
    shown += looked() + looked()
    assert shown.endswith(b"[ranks 0-1] loading\n") and shown.count(b"loading") == 1


def test_following_folds_what_comes_within_a_second(run: Run, following: Following) -> None:
    with stopped(following.process.pid):  # it reads both at once, however busy the machine is
        run.rank(0, line(2, "second"))
        run.rank(1, line(2.5, "second"))
    following.wait_for("[ranks 0-1] second")
    assert following.file.read_text().count("second") == 1


def test_halves_of_lines_that_torchrun_has_mixed_are_put_together_by_rank(run: Run) -> None:
    run.settings = TorchrunConfig(redirects="0", tee="0:0,1:0", local_ranks_filter=())
    run.write_state("finished")
    first, second = line(1, "one of rank 0"), line(2, "one of rank 1")
    text = f"[trainer0]:{first[:40]}[trainer1]:{second}[trainer0]:{first[40:]}W1123 03:10:03.000000 7 a.py:1] torch\n"
    run.component("trainer", text + "[trainer0]:the half[trainer1]:that never ended")
    lines = [
        f"trainer 0 | {first}",
        f"trainer 1 | {second}",
        "trainer 0 | the half\n",
        "trainer 1 | that never ended\n",
    ]
    lines.append("trainer | W1123 03:10:03.000000 7 a.py:1] torch\n")
    assert sorted(run.shown()) == sorted(text.rstrip("\n") for text in lines)


# --- the newest lines -------------------------------------------------------------------------------------------------


def test_the_last_lines_are_the_newest_of_all_logs(run: Run) -> None:
    run.component("launcher", line(1, "a") + line(4, "d"))
    run.component("inference", line(2, "b") + line(3, "c"))
    blocks = run.view(labels=False).new_lines(final=True)
    assert b"".join(last_lines(blocks, 2)).decode() == line(3, "c") + line(4, "d")


def test_following_begins_with_the_newest_lines_of_all_ranks_and_shows_every_line_after_them(run: Run) -> None:
    run.write_state("running")
    for rank in range(2):
        run.rank(rank, "".join(line(number / 100, f"step {number}") for number in range(3000)))
    following = Following(run, "-n", "5", "--no-labels")
    try:
        following.wait_for("step 2999")
        with stopped(following.process.pid):
            for rank in range(2):
                run.rank(rank, "".join(line(31 + number / 100, f"then {number}") for number in range(20)))
        following.wait_for("then 19")
    finally:
        following.end()
    shown = [text.rsplit("[ranks 0-1] ", 1)[-1] for text in following.file.read_text().splitlines()]
    assert shown == [f"step {number}" for number in range(2995, 3000)] + [f"then {number}" for number in range(20)]


def test_fewer_lines_than_asked_for_are_all_shown() -> None:
    assert b"".join(last_lines([b"a\nb\n", b"c\n"], 9)) == b"a\nb\nc\n"
    assert b"".join(last_lines([b"a\nb\n", b"c\n"], None)) == b"a\nb\nc\n"


@pytest.mark.parametrize(("typed", "first"), [("warn", "w"), ("WARNING", "w"), ("err", "e"), ("crit", "c")])
def test_a_level_may_be_its_beginning(run: Run, typed: str, first: str) -> None:
    levels = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
    run.component("launcher", "".join(line(number, level[0].lower(), level) for number, level in enumerate(levels)))
    assert run.messages(level=typed)[0] == first


def test_a_beginning_of_no_level_is_refused_with_those_that_there_are(run: Run) -> None:
    for wrong in ("loud", ""):
        with pytest.raises(UserError, match="TRACE, DEBUG, INFO"):
            run.shown(level=wrong)
