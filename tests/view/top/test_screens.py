"""The screens of `launch top`, drawn in terminals of three sizes: what they show, and that nothing is cut or wrapped.

The screens as text are in screens/. Write them anew with: LAUNCH_WRITE_SCREENS=1 pytest tests/view/top/test_screens.py
"""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.text import Text

from launcher.borders.screen import printable
from launcher.errors import UserError
from launcher.processes.identity import identify
from launcher.rundir import RunDir
from launcher.runs.state import FailureState, ProcessState, ProgressState, RankState, RunState
from launcher.view.top import feed, log_screen, look
from launcher.view.top.entries import Entry
from launcher.view.top.lines import Lines
from launcher.view.top.look import RunReader
from tests.states import state_of
from tests.view.top.driving import Driver, drive

pytestmark = pytest.mark.usefixtures("here")

SIZES = [(80, 24), (120, 40), (200, 50)]
SCREENS = Path(__file__).with_name("screens")
NASTY = "[red]x[/] [/nothing] \x1b]0;title\x07\x1b[31m\x9b2J"
MakeRun = Callable[..., tuple[RunDir, RunState]]


@pytest.fixture
def make_run(here: Path) -> MakeRun:
    def make(name: str = "otter", steps: int = 40, **facts: Any) -> tuple[RunDir, RunState]:
        """A run below ./outputs with a falling loss and a log, finished unless `facts` say otherwise."""
        run = RunDir(here / "outputs" / name)
        for folder in (run.logs, run.all_metrics):
            folder.mkdir(parents=True)
        progress = ProgressState(component="trainer", metric="loss", max_steps=150)
        ended = time.time() - 3600
        values = {"started": ended - 187, "ended": ended, "progress": progress, "processes": trainer(run)}
        state = state_of(run, **values | facts)
        run.state.write_text(state.model_dump_json())
        numbers = range(1, steps + 1)
        lines = [{"step": step, "loss": 3 / step, "evaluation/reward": step / 100} for step in numbers]
        run.metrics("trainer").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        said = [
            f"2026-11-27 02:00:{step:02}.000 | INFO    | step {step} loss {3 / step:.3f}"
            for step in range(1, steps + 1)
        ]
        said.append("2026-11-27 02:01:00.000 | ERROR   | the gradient was not finite")
        run.component_log("trainer").write_text("".join(f"{line}\n" for line in said))
        return run, state

    return make


def trainer(run: RunDir, **facts: Any) -> list[ProcessState]:
    return [ProcessState(name="trainer", log=run.component_log("trainer"), exit_code=0, **facts)]


def failed(run_name: str, here: Path) -> dict[str, Any]:
    """The facts of a run of two ranks, of which one has failed."""
    log = here / "outputs" / run_name / "trainer.log"
    ranks = [RankState(rank=0, log=log, exit_code=-15, ended_by="launch"), RankState(rank=1, log=log, exit_code=1)]
    process = ProcessState(name="trainer", log=log, exit_code=1, ended_by="launch", ranks=ranks)
    text = "FAILED  trainer rank 1: exit code 1\n\n  ValueError: no such batch\n\n  log  trainer.log\n"
    failure = FailureState(
        component="trainer", rank=1, what="exit code 1", cause="c", log=None, collateral=[], text=text
    )
    return {"state": "failed", "exit_code": 1, "processes": [process], "failure": failure}


async def check_screen(top: Driver, name: str, size: tuple[int, int], *texts: str) -> None:
    """It comes to have these texts and to be as in the file: printable, fitting, its keys in one row, no text cut."""
    await top.wait_for(*texts)
    file = SCREENS / f"{name}-{size[0]}x{size[1]}.txt"
    if os.environ.get("LAUNCH_WRITE_SCREENS"):
        SCREENS.mkdir(exist_ok=True)
        file.write_text(top.screen.rstrip("\n") + "\n")
    expected = file.read_text()
    await top.wait_until(lambda: top.screen.rstrip("\n") + "\n" == expected, f"not as in {file.name}")
    screen, rows = top.screen, top.rows
    assert len(rows) == size[1] and max(map(len, rows)) <= size[0]
    assert printable(screen) == screen
    assert "…" not in screen
    assert "q " in rows[-1] and "? help" in rows[-1]


# --- as they are ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_the_list_of_runs(make_run: MakeRun, here: Path, size: tuple[int, int]) -> None:
    make_run("calm-otter")
    make_run("quick-heron", started=time.time() - 7200, **failed("quick-heron", here))
    (here / "outputs" / "broken").mkdir()
    (here / "outputs" / "broken" / "run.json").write_text("")

    async def play(top: Driver) -> None:
        await check_screen(top, "runs", size, "quick-heron", "? help", "cannot be read")

    drive(play, size)


@pytest.mark.parametrize("size", SIZES)
def test_a_run_that_has_failed(make_run: MakeRun, here: Path, size: tuple[int, int]) -> None:
    run, _ = make_run("quick-heron", **failed("quick-heron", here))

    async def play(top: Driver) -> None:
        await check_screen(top, "failed", size, "┤", "not finite", "? help")

    drive(play, size, run.root)


@pytest.mark.parametrize("size", SIZES)
def test_the_help_and_the_logs(make_run: MakeRun, size: tuple[int, int]) -> None:
    run, _ = make_run("calm-otter")

    async def play(top: Driver) -> None:
        await top.wait_for("┤")
        await top.press("question_mark")
        await check_screen(top, "help", size, "All runs", "? help")
        await top.press("q", "l")
        await check_screen(top, "logs", size, "41 lines", "not finite", "step 39", "? help")

    drive(play, size, run.root)


# --- what is alive ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_a_run_that_is_running_has_its_processes_with_what_they_use_and_since_when(
    make_run: MakeRun, here: Path, size: tuple[int, int]
) -> None:
    own, log = identify(os.getpid()), here / "x.log"
    ranks = [RankState(rank=rank, log=log, process=own) for rank in range(2)]
    process = ProcessState(name="trainer", log=log, process=own, ranks=ranks, gpus=("0", "1", "2", "3"))
    run, _ = make_run(state="running", ended=None, supervisor=own, processes=[process])

    async def play(top: Driver) -> None:
        screen = await top.wait_for("┤", "rank 1", "supervisor")
        row = next(row.split() for row in screen.split("\n") if row.startswith(" trainer "))
        assert row[:3] == ["trainer", str(os.getpid()), "running"]
        assert row[3].endswith("%") and row[5] in ("MB", "GB") and row[6] == "0-3"
        assert row[7][-1] in "smh"
        assert "…" not in screen

    drive(play, size, run.root)


def test_rows_are_sorted_by_the_column_that_is_asked_for_and_the_cursor_stays_on_its_run(make_run: MakeRun) -> None:
    for name, steps in (("a", 3), ("b", 40), ("c", 7)):
        make_run(name, steps=steps, started=time.time() - 4000 - steps)

    def names(top: Driver) -> list[str]:
        return ["".join(row.split()[:1]) for row in top.rows[2:5]]

    async def wait_for_names(top: Driver, *expected: str) -> None:
        await top.wait_until(lambda: names(top) == [*expected], f"not in the order {expected}")

    async def play(top: Driver) -> None:
        await top.wait_for("3 runs")
        await wait_for_names(top, "a", "c", "b")
        await top.press("down")  # to c
        for _ in range(5):
            await top.press("o")
        await top.wait_for("STEP ▼")
        await wait_for_names(top, "b", "c", "a")
        await top.press("O")
        await top.wait_for("STEP ▲")
        await wait_for_names(top, "a", "c", "b")
        await top.press("o", "o", "o", "o", "o")  # as they come, then NAME
        await top.wait_for("NAME ▼")
        await wait_for_names(top, "c", "b", "a")
        await top.press("enter")
        await top.wait_for("sft run c")

    drive(play)


# --- what may stand in a run's files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES[:2])
def test_no_markup_and_no_control_character_of_a_run_is_obeyed(
    make_run: MakeRun, here: Path, size: tuple[int, int]
) -> None:
    facts = failed("otter", here)
    failure = facts["failure"].model_copy(update={"text": f"FAILED {NASTY}\n\n  {NASTY}\n"})
    run, state = make_run(**facts | {"failure": failure, "reason": "stopped by [red]me"})
    moved = run.root.rename(here / "outputs" / "[red]o[bold] $(x) 'é")
    log = RunDir(moved).component_log("trainer")
    log.write_text(log.read_text() + f"2026-11-27 02:02:00.000 | WARNING | careful {NASTY}\n")

    async def play(top: Driver) -> None:
        screen = await top.wait_for("FAILED [red]x[/] [/nothing]", "careful [red]x[/] [/nothing]", "[red]me")
        assert printable(screen) == screen
        await top.press("l")
        screen = await top.wait_for("logs of [red]o[bold] $(x) 'é", "careful [red]x[/]")
        assert printable(screen) == screen
        await top.press("q", "x")
        await top.wait_for("[red]o[bold] $(x) 'é has ended")
        RunDir(moved).state.write_text(state.model_copy(update={"state": "running"}).model_dump_json())
        await top.wait_for("sft run otter  died")
        await top.press("x")
        await top.wait_for("Stop [red]o[bold] $(x) 'é?")
        await top.press("n", "d")
        assert "[/nothing]" in await top.wait_for("status of [red]o[bold] $(x) 'é", "sft run otter")

    drive(play, size, moved)


def test_runs_that_vanish_or_cannot_be_read_any_more_end_nothing(make_run: MakeRun) -> None:
    make_run("stays")
    run, state = make_run("otter")

    async def play(top: Driver) -> None:
        await top.wait_for("┤")
        run.state.write_text("{")
        await top.wait_for("run.json")
        run.state.write_text(state.model_dump_json())
        run.root.rename(run.root.parents[1] / "removed")
        await top.wait_for("otter is no longer there", "┤")
        await top.press("l", "s")
        await top.press("q")
        await top.press("q")
        await top.wait_for("1 run below", "stays")
        await top.wait_until(lambda: "otter" not in top.screen)

    drive(play, opened=run.root)


def test_what_is_read_while_a_run_is_removed_is_not_taken_for_all_of_it(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = make_run()
    read = RunReader(run.root)

    def remove_first(*_: object) -> list[str]:
        shutil.rmtree(run.root)
        return []

    monkeypatch.setattr(look, "evaluation_lines", remove_first)
    with pytest.raises(UserError, match="otter"):
        read()


# --- logs -------------------------------------------------------------------------------------------------------------


def test_the_search_shows_entries_with_the_expression_and_says_what_is_wrong_with_one_that_is_none(
    make_run: MakeRun,
) -> None:
    run, _ = make_run()

    async def play(top: Driver) -> None:
        await top.wait_for("┤")
        await top.press("slash")
        await top.wait_for("a regular expression")
        await top.press(*"step 3.", "enter")
        await top.wait_for("with step 3.: 11 lines", "step 39")
        await top.wait_until(lambda: "step 29" not in top.screen)
        await top.press("slash", "left_square_bracket", "enter")
        await top.wait_for("not a regular expression")
        await top.press("slash", *["backspace"] * 9, "enter", "w")
        await top.wait_for("warnings and worse: 1 lines", "not finite")
        await top.wait_until(lambda: "step 39" not in top.screen)

    drive(play, opened=run.root)


def test_of_a_warning_or_error_only_its_first_line_is_news_and_of_a_traceback_the_exception(make_run: MakeRun) -> None:
    run, _ = make_run(steps=2)
    trace = "Traceback (most recent call last):\n" + "".join(f'  File "a.py", line {n}\n    x()\n' for n in range(9))
    said = [
        f"INFO    | step 3\n{trace}KeyError: 1\n\nDuring handling of it:\n\n{trace}ValueError: last\nmore\n",
        f"ERROR   | caught it\n{trace}ValueError: told\n",
        "WARNING | careful\n  of that\n  and this\n",
    ]
    with run.component_log("trainer").open("a") as log:
        log.write("".join(f"2026-11-27 02:03:0{number}.000 | {text}" for number, text in enumerate(said)))

    async def play(top: Driver) -> None:
        await top.wait_for("sft run otter", "careful", "? help")
        news = [
            "trainer ValueError: last",
            "02:03:01 trainer ERROR caught it",
            "02:03:02 trainer WARNING careful",
        ]
        await top.wait_until(lambda: [row.strip() for row in top.rows if row.strip()][-4:-1] == news)

    drive(play, opened=run.root)


def test_the_traceback_of_a_log_without_times_is_news_with_its_exception(make_run: MakeRun) -> None:
    run, _ = make_run(steps=2)
    trace = "Traceback (most recent call last):\n" + "".join(f'  File "a.py", line {n}\n    x()\n' for n in range(9))
    run.component_log("trainer").write_text(f"starting\n{trace}ValueError: no such batch\n")

    async def play(top: Driver) -> None:
        await top.wait_for("sft run otter", "trainer ValueError: no such batch")
        assert "x()" not in top.screen

    drive(play, opened=run.root)


def test_a_reader_of_the_middle_keeps_the_place_when_lines_leave_at_the_front(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_screen, "MOST", 100)
    run, _ = make_run(steps=2)
    log = run.component_log("trainer")
    log.write_text("".join(f"line {number:03}\n" for number in range(200)))

    async def play(top: Driver) -> None:
        await top.wait_for("┤")
        await top.press("l")
        await top.wait_for("the last 100 lines", "line 199")
        await top.press("pageup", "pageup")
        await top.wait_for("line 134")
        await top.pilot.wait_for_animation()
        before = [row[:70].rstrip() for row in top.rows[1:-1]]  # without the scrollbar
        for last in (209, 219):
            with log.open("a") as more:
                more.write("".join(f"line {number:03}\n" for number in range(last - 9, last + 1)))
            await top.wait_until(lambda last=last: shown_to(top) == last)
        assert [row[:70].rstrip() for row in top.rows[1:-1]] == before
        await top.press("end")
        await top.wait_for("line 219")
        await top.pilot.wait_for_animation()
        with log.open("a") as more:
            more.write("line 220\n")
        await top.wait_for("line 220")

    def shown_to(top: Driver) -> int:
        return int(top.app.screen.query_one(Lines)._lines[-1].text.split()[-1])

    drive(play, opened=run.root)


def test_a_new_line_is_shown_before_the_next_read_is_due_and_only_lines_on_the_screen_are_drawn(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = make_run(steps=2)
    log = run.component_log("trainer")
    log.write_text("".join(f"line {number}\n" for number in range(4000)))
    drawn, draw = [0], Entry.line

    def count(entry: Entry) -> Text:
        drawn[0] += 1
        return draw(entry)

    async def play(top: Driver) -> None:
        await top.wait_for("┤")
        monkeypatch.setattr(Entry, "line", count)
        for name in ("COST", "LONGEST"):
            monkeypatch.setattr(feed, name, 1e9)  # the next read is due in years
        await top.press("l")
        await top.wait_for("line 3999")
        before = drawn[0]
        for line in ("line 4000", "line 4001"):
            with log.open("a") as more:
                more.write(f"{line}\n")
            await top.wait_for(line)
        assert drawn[0] - before < 1000

    drive(play, opened=run.root)


def test_enter_on_a_rank_shows_its_log_alone(make_run: MakeRun) -> None:
    run, _ = make_run()

    async def play(top: Driver) -> None:
        await top.wait_for("┤")
        await top.press("enter")
        await top.wait_for("logs of otter, trainer: 41 lines")

    drive(play, opened=run.root)
