"""What keys do: nothing waits for a slow read, and a run is changed by `launch stop` and `launch restart` alone."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import psutil
import pytest

from launcher.processes.identity import identify
from launcher.rundir import RunDir
from launcher.runs.state import ProcessState
from launcher.view.top import acts, feed, run_screen
from launcher.view.top.app import TopApp
from launcher.view.top.look import RunReader
from tests.launching import LAUNCH
from tests.states import state_of
from tests.view.top.driving import Driver, drive
from tests.waiting import until


@pytest.fixture
def run(here: Path) -> RunDir:
    run = RunDir(here / "outputs" / "otter")
    run.logs.mkdir(parents=True)
    processes = [ProcessState(name=name, log=run.component_log(name)) for name in ("trainer", "inference")]
    run.state.write_text(state_of(run, processes=processes).model_dump_json())
    return run


def set_state(run: RunDir, state: str, **facts: Any) -> None:
    """As if it were the state of a run that this process supervises."""
    processes = [ProcessState(name=name, log=run.component_log(name)) for name in ("trainer", "inference")]
    values = {"state": state, "supervisor": identify(os.getpid()), "processes": processes}
    run.state.write_text(state_of(run, **values | facts).model_dump_json())


def test_a_read_that_hangs_delays_neither_keys_nor_the_way_out(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    began, hangs, over = time.monotonic(), threading.Event(), threading.Event()

    def hang(_: RunReader) -> None:
        hangs.set()
        over.wait(240)

    monkeypatch.setattr(RunReader, "__call__", hang)

    async def play(top: Driver) -> None:
        await top.wait_for("reading otter")
        assert hangs.wait(60)
        await top.press("question_mark")
        await top.wait_for("All runs")
        await top.press("q", "q")
        await top.wait_for("1 run below")
        await top.press("q")

    drive(play, opened=run.root)
    over.set()
    assert time.monotonic() - began < 120


def test_any_error_of_a_read_is_shown_and_the_next_read_is_tried(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    read, is_spoilt = RunReader.__call__, [True]

    def fail(reader: RunReader) -> object:
        if is_spoilt:
            raise KeyError("[red]spoilt\x1b[31m")
        return read(reader)

    monkeypatch.setattr(RunReader, "__call__", fail)

    async def play(top: Driver) -> None:
        await top.wait_for("[red]spoilt")
        is_spoilt.clear()
        assert "spoilt" not in await top.wait_for("sft run otter", "inference")

    drive(play, opened=run.root)


def test_an_event_is_shown_before_the_next_read_is_due(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_screen, "EVERY", 1000.0)

    async def play(top: Driver) -> None:
        await top.wait_for("sft run otter  finished")
        run.state.write_text(run.state.read_text().replace('"finished"', '"failed"'))
        await top.wait_for("sft run otter  failed")

    drive(play, opened=run.root)


@pytest.mark.parametrize(
    ("keys", "question", "words"),
    [
        (["x"], "Stop otter?", ["stop"]),
        (["k"], "Stop otter?", ["stop"]),
        (["up", "up", "down", "r"], "Restart inference of otter?", ["restart", "inference"]),
    ],
)
def test_a_run_is_changed_after_a_yes_alone_and_by_the_command(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, keys: list[str], question: str, words: list[str]
) -> None:
    set_state(run, "running")
    called: list[tuple[str, ...]] = []

    def launch(*words: str) -> acts.Outcome:
        called.append(words)
        return acts.Outcome(0, "[red]done[/]\n")

    monkeypatch.setattr(acts, "launch", launch)

    async def play(top: Driver) -> None:
        await top.wait_for("inference")
        for no in ("n", "escape", "enter", "q"):
            await top.press(*keys)
            await top.wait_for(question)
            await top.press(no)
            await top.wait_for("sft run otter")
        assert called == []
        await top.press(*keys)
        await top.wait_for(question)
        await top.press("y")
        await top.wait_for("[red]done[/]")
        assert called == [(words[0], str(run.root), *words[1:])]

    drive(play, opened=run.root)


@pytest.mark.parametrize(("opens", "key"), [(True, "x"), (True, "r"), (False, "x")])
def test_of_a_run_that_has_ended_that_is_said_instead_of_a_question(run: RunDir, opens: bool, key: str) -> None:
    async def play(top: Driver) -> None:
        await top.wait_for("inference" if opens else "otter")
        await top.press(key)
        assert "otter?" not in await top.wait_for("otter has ended")
        if opens:
            set_state(run, "running")
            await top.wait_for("sft run otter  running")
            await top.press(key)
            await top.wait_for("otter?")

    drive(play, opened=run.root if opens else None)


def test_processes_of_a_run_that_has_died_can_be_stopped(run: RunDir) -> None:
    set_state(run, "running", supervisor=None)

    async def play(top: Driver) -> None:
        await top.wait_for("sft run otter  died")
        await top.press("x")
        await top.wait_for("Stop otter?")
        await top.press("n")

    drive(play, opened=run.root)


def test_a_refusal_of_the_command_is_shown_as_it_was_said(run: RunDir) -> None:
    set_state(run, "starting")

    async def play(top: Driver) -> None:
        await top.wait_for("inference")
        await top.press("r")
        await top.wait_for("Restart trainer of otter?")
        await top.press("y")
        await top.wait_for("launch restart", "otter is starting: only a component of a running run")
        await top.press("q")
        await top.wait_for("sft run otter")

    drive(play, opened=run.root)


def test_while_the_terminal_shows_the_panes_nothing_is_read(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    reads, read, has_read_on = [0], RunReader.__call__, threading.Event()
    monkeypatch.setattr(run_screen, "EVERY", 0.01)
    monkeypatch.setattr(feed, "COST", 0)
    monkeypatch.setattr(TopApp, "suspend", lambda _: nullcontext())  # a terminal of the tests' cannot be left
    at_attach: list[int] = []

    def count(reader: RunReader) -> object:
        reads[0] += 1
        if at_attach and reads[0] > at_attach[0] + 1:  # one may be under way
            has_read_on.set()
        return read(reader)

    def attach(*words: str) -> acts.Outcome:
        assert words == ("attach", str(run.root))
        at_attach.append(reads[0])
        return acts.Outcome(1, f"has read on: {has_read_on.wait(1)}")

    monkeypatch.setattr(RunReader, "__call__", count)
    monkeypatch.setattr(acts, "launch_here", attach)

    async def play(top: Driver) -> None:
        await top.wait_for("inference")
        await top.press("a")
        await top.wait_for("launch attach", "has read on: False")
        await top.press("q")
        assert await asyncio.to_thread(has_read_on.wait, 60)

    drive(play, opened=run.root)


def test_the_stacks_are_those_of_launch_stacks(run: RunDir) -> None:
    with subprocess.Popen([sys.executable, "-c", "print(flush=True); input()"], stdin=-1, stdout=-1) as child:
        assert child.stdout is not None and child.stdout.readline()
        until(lambda: psutil.Process(child.pid).status() == psutil.STATUS_SLEEPING)  # in input()
        own = identify(child.pid)
        processes = [ProcessState(name="trainer", log=run.component_log("trainer"), process=own)]
        state = state_of(run, state="running", supervisor=own, processes=processes)
        run.state.write_text(state.model_dump_json())
        done = subprocess.run([LAUNCH, "stacks", str(run.root)], capture_output=True, text=True, check=False)

        async def play(top: Driver) -> None:
            await top.wait_for("trainer")
            await top.press("s")
            await top.wait_for(
                "stacks of otter", *filter(None, (line[:70].rstrip() for line in done.stdout.split("\n")[:5]))
            )

        drive(play, opened=run.root)
        child.kill()


def test_a_command_is_never_a_module_of_the_directory_where_we_are(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "launcher").mkdir()
    (here / "launcher" / "__main__.py").write_text("print('planted')")
    for executable in (sys.executable, str(here / "python")):
        monkeypatch.setattr(sys, "executable", executable)
        words = acts.command()
        assert words[0] == str(Path(executable).with_name("launch")) or "-P" in words
    monkeypatch.undo()
    assert acts.launch("--version").text.startswith("launch ")
