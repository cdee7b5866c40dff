"""A run directory that a stranger has filled: nothing of it is executed, and it spoils no other run's line."""

import json
import os
import platform
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from launcher.borders.screen import printable
from launcher.borders.values import MOST_STEPS
from launcher.checkpoints import newest_checkpoint
from launcher.commands.status import status
from launcher.config.run import RLConfig
from launcher.errors import UserError
from launcher.processes.identity import identify
from launcher.rundir import RunDir
from launcher.runs.inspection import inspect_processes
from launcher.runs.state import ProgressState, read_state
from launcher.tracking.wandb_links import WandbLink, read_wandb_links
from launcher.view.status.model import all_runs, run_details
from launcher.view.status.page import run_page
from launcher.view.status.table import runs_screen
from launcher.view.tmux.attach import attach
from launcher.view.tmux.layout import PaneSource, run_layout, session_name
from launcher.view.tmux.panes import layout_of, show_status, status_text
from launcher.view.tmux.server import TmuxError, literal
from launcher.view.tmux.session import close_panes, open_panes, set_status
from tests.plans import rl
from tests.states import state_of
from tests.tmux_server import TmuxServer
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("here")

INJECTIONS = ["#(touch PWNED)", "#{l:#(touch PWNED)}", "#[#(touch PWNED)", "$(touch PWNED)", "'; touch PWNED; '"]
Write = Callable[..., RunDir]


@pytest.fixture
def write(here: Path) -> Write:
    """Writes a run's state as a stranger would, with some of its values replaced."""

    def write(directory: str = "otter", /, **values: Any) -> RunDir:
        run = RunDir(here / "outputs" / directory)
        run.logs.mkdir(parents=True)
        run.all_metrics.mkdir()
        state = state_of(run, host="elsewhere")
        run.state.write_text(json.dumps(state.model_dump(mode="json") | values))
        return run

    return write


# --- tmux -------------------------------------------------------------------------------------------------------------


def open_as_attach_does(run: RunDir) -> None:
    """What `launch attach` opens; a state that is refused opens nothing."""
    state = read_state(run)
    if state is None:
        return
    session = open_panes(layout_of(run, state), state.tmux_socket)
    show_status(run, state, session)
    close_panes(session, state.tmux_socket)


def settle(tmux: TmuxServer) -> None:
    """A client draws every title and status line of every session; jobs that tmux has started have ended then."""
    for session in tmux.run("list-sessions", "-F", "#{session_id}").splitlines():
        look = f"env -u TMUX tmux attach -t '{session}'; echo left; exec sleep 60"  # it may be closing
        terminal = tmux.open_terminal("/bin/sh", "-c", look)
        until(lambda: tmux.screen(terminal).strip())  # noqa: B023 (called at once)
    time.sleep(0.5)  # a `#(…)` runs in the background


@pytest.mark.parametrize("injection", INJECTIONS)
@pytest.mark.parametrize("where", ["name", "component", "metric", "session"])
def test_no_text_of_a_run_directory_is_executed_by_tmux(
    tmux: TmuxServer, write: Write, here: Path, injection: str, where: str
) -> None:
    trainer = {"name": "trainer", "log": str(here / "log")}
    progress = {"component": "trainer", "metric": "loss", "max_steps": 3}
    values: dict[str, dict[str, Any]] = {
        "name": {"name": injection},
        "component": {"processes": [trainer | {"name": injection}]},
        "metric": {"progress": progress | {"metric": injection}},
        "session": {"tmux_session": injection, "tmux_keep": False},
    }
    tmux.run("new-session", "-d", "-c", str(here))
    run = write(**values[where])
    run.metrics("trainer").write_text(json.dumps({"step": 1, "loss": 1.0, injection: 2.0}) + "\n")
    open_as_attach_does(run)
    settle(tmux)
    assert not [path for path in (here / "PWNED", tmux.home / "PWNED") if path.exists()]


@pytest.mark.parametrize("injection", INJECTIONS)
def test_the_views_themselves_hand_no_format_to_tmux(tmux: TmuxServer, here: Path, injection: str) -> None:
    """The second lock: were such a name to come past the border, tmux would show it and no more."""
    layout = run_layout(injection, here, [PaneSource(injection, here / injection)], [], here / "launcher.log")
    session = open_panes(layout)
    set_status(session, injection)
    settle(tmux)
    assert injection in tmux.panes("#{pane_title}")
    tmux.run("rename-session", "-t", session, literal(injection))
    close_panes(injection)
    settle(tmux)
    assert not [path for path in (here / "PWNED", tmux.home / "PWNED", Path("PWNED")) if path.exists()]


def test_a_session_is_called_by_letters_and_digits_alone() -> None:
    assert session_name("a.b:c#(x) $y") == "launch-a_b_c__x___y"


@pytest.mark.parametrize("name", ["../tmux-0/default", "/tmp/socket", ".hidden", "", "a" * 65, "a\x1b[0m"])
def test_a_socket_is_one_beside_the_user_s_own(write: Write, name: str) -> None:
    assert read_state(write(tmux_socket=name)) is None
    with pytest.raises(UserError, match="a socket's name"):
        rl("--tmux.socket-name", name)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a socket of another user")
def test_a_tmux_server_of_another_user_is_refused(
    tmux: TmuxServer, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = tmux.home / "foreign"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(foreign))
        os.chown(foreign, 4711, 4711)
        monkeypatch.setenv("TMUX", f"{foreign},1,0")
        layout = run_layout("otter", here, [PaneSource("trainer", here / "log")], [], here / "launcher.log")
        with pytest.raises(TmuxError, match=r"is of another user, uid 4711"):
            open_panes(layout)
        with pytest.raises(TmuxError, match=r"is of another user"):
            attach("launch-otter", "otter")


# --- launch status ----------------------------------------------------------------------------------------------------

BAD = {
    "started": float("nan"),
    "ended": float("inf"),
    "nodes": 10_000_000,
    "attempt": 10**400,
    "exit_code": -(10**30),
    "name": "x\x1b[31m",
    "progress": {"component": "../../elsewhere", "metric": "loss", "max_steps": 3},
    "processes": [{"name": "trainer", "log": "relative.log"}],
    "supervisor": {"pid": 0, "start_time": 1},
    "grace": 10**400,
    "slurm": {"job": "--user=root"},
    "host": 4711,
}


@pytest.mark.parametrize("key", BAD)
def test_a_bad_value_is_a_run_that_cannot_be_read_and_the_others_are_shown(write: Write, key: str) -> None:
    write("good")
    write("evil", **{key: BAD[key]})
    began = time.process_time()
    lines = runs_screen(all_runs()).splitlines()
    assert time.process_time() - began < 1
    assert lines[1].startswith("good")
    assert lines[2] == "1 more cannot be read:"
    assert lines[3].startswith(f"  outputs/evil/run.json: {key}")
    assert len(lines) == 4


RANKS = [{"rank": 1, "log": "/a"}] * 150_000
TOO_LONG = {
    "processes": [{"name": "trainer", "log": "/a"}] * 90_000,
    "processes.0.ranks": [{"name": "trainer", "log": "/a", "ranks": RANKS}],
    "processes.0.gpus": [{"name": "trainer", "log": "/a", "gpus": [1] * 1_000_000}],
    "earlier": [{"attempt": 1, "state": "failed", "started": 1, "ended": 2, "exit_code": 1}] * 40_000,
    "provenance.argv": {"argv": ["word"] * 400_000},
}


@pytest.mark.parametrize("where", TOO_LONG)
def test_a_list_that_no_run_can_have_is_refused_before_it_takes_time(write: Write, where: str) -> None:
    write("good")
    write("evil", **{where.partition(".")[0]: TOO_LONG[where]})
    began = time.process_time()
    runs = all_runs()
    assert time.process_time() - began < 1
    assert [run.name for run in runs.shown] == ["good"]
    assert [why.partition(":")[0].removesuffix(".0") for why in runs.unreadable.values()] == [where]


def test_what_no_launch_writes_takes_no_time(write: Write) -> None:
    write("good", provenance={"other": [[] for _ in range(900_000)]})
    began = time.process_time()
    assert [run.name for run in all_runs().shown] == ["good"]
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize("content", ["[" * 100_000, '"\\udc80' + "[" * 100_000, '{"a":' * 100_000, "1" * 100_000])
def test_a_run_json_that_no_parser_likes_is_a_run_that_cannot_be_read(write: Write, content: str) -> None:
    write("good")
    write("evil").state.write_text(content)
    runs = all_runs()
    assert ([run.name for run in runs.shown], len(runs.unreadable)) == (["good"], 1)


def test_the_same_process_named_a_thousand_times_is_measured_once(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launcher.runs.inspection.with_descendants", (asked := []).append)
    own = identify(os.getpid()).model_dump()
    components = [{"name": f"c{number}", "log": "/a", "process": own} for number in range(1000)]
    run = write(processes=components, host=platform.node(), state="running", ended=None)
    state = read_state(run)
    assert state is not None
    with suppress(TypeError):  # what nothing is below of cannot be measured
        inspect_processes(state, "running")
    assert asked == [os.getpid()]


@pytest.mark.parametrize("name", ["step_²", "step_٣", "step_" + "9" * 200, "step_-1", "step_1_0", "step_"])
def test_only_what_is_called_like_a_checkpoint_is_one(write: Write, name: str) -> None:
    run = write()
    run.checkpoint(3).mkdir(parents=True)
    (run.checkpoints / name).mkdir()
    assert newest_checkpoint(run) == 3


@pytest.mark.parametrize("bad", [{"directory": "a\0b"}, {"directory": "--help"}, {"component": "../x"}])
def test_a_foreign_w_and_b_run_that_is_none_makes_the_run_unreadable(write: Write, bad: dict[str, str]) -> None:
    good = {"component": "trainer", "name": "\x1b[31mred", "id": "a.b", "directory": "/there"}
    assert read_state(write("good", foreign_wandb=[good])).foreign_wandb[0].name == "red"  # type: ignore[union-attr]
    write("evil", foreign_wandb=[good | bad])
    assert [path.parent.name for path in all_runs().unreadable] == ["evil"]


def test_nodes_without_number_hold_up_neither_table_nor_page(write: Write) -> None:
    write("good")
    run = write("evil", nodes=1_000_000)
    for number in range(1, 12_000):
        (run.all_nodes / f"node_{number}").mkdir(parents=True)
    state = read_state(run)
    assert state is not None
    began = time.process_time()
    assert len(all_runs().shown) == 2
    assert time.process_time() - began < 0.2
    run.state.unlink()
    began = time.process_time()
    assert len(all_runs().shown) == 1
    assert run_details(run, state).other_nodes == []
    assert time.process_time() - began < 3


def test_a_fifo_holds_up_nobody(write: Write) -> None:
    write("good")
    evil = write("evil")
    evil.state.unlink()
    os.mkfifo(evil.state)
    runs = all_runs()
    assert [run.name for run in runs.shown] == ["good"]
    assert runs.unreadable == {evil.state: "is not a regular file"}


def test_as_many_nodes_as_there_are_directories_are_looked_for(write: Write) -> None:
    run = write(nodes=1_000_000)
    for name in ("node_x", "node_1", "node_٣", "node_-1", "node_99999999999"):
        (run.all_nodes / name).mkdir(parents=True)
    state = read_state(run)
    assert state is not None
    began = time.process_time()
    assert run_details(run, state).other_nodes == []
    assert time.process_time() - began < 1


METRICS = [
    '{"step": 1, "loss": 1%s}' % ("0" * 400),
    '{"step": 1, "loss": 1e308}\n{"step": 2, "loss": -1e308}\n{"step": 3, "loss": 1.7e308}',
    '{"step": 1%s, "loss": 1}' % ("0" * 400),
    '{"step": 1, "loss": NaN}\n{"step": 2, "loss": Infinity}',
    '{"step": 1, "loss": "1.0", "\\u001b[31m": 1}',
    '{"step": 1, "ste\\u0000p": 1e308, "loss": 1}',
    '{"step": true, "loss": 1}\n{"step": -1}\n{"step": 1.5}\n[1]\nnull',
    "[" * 100_000,
]


@pytest.mark.parametrize("lines", METRICS)
def test_a_bad_metric_spoils_neither_table_nor_page(write: Write, lines: str) -> None:
    write("good")
    run = write("evil")
    run.metrics("trainer").write_text(lines + "\n")
    assert {status.name for status in all_runs().shown} == {"good", "evil"}
    state = read_state(run)
    assert state is not None
    shown = runs_screen(all_runs()) + run_page(state, run_details(run, state), colours=False)
    assert "\x1b" not in shown
    assert max(map(len, shown.splitlines())) < 200


def test_a_metric_of_309_digits_fits_the_status_line() -> None:
    progress = ProgressState(component="trainer", metric="loss", max_steps=MOST_STEPS)
    assert status_text(progress, [{"step": 7, "loss": 1e308}], "running", 0).startswith(
        "step 7/1000000000000000  loss 1e+308  running"
    )


@pytest.mark.parametrize(
    "values",
    [
        {"url": "javascript:alert(1)"},
        {"url": "https://wandb.ai/\x1b[31m"},
        {"component": "../x"},
        {"unsynced": ["--help"]},
        {"unsynced": ["relative"]},
        {"directory": 3},
        {"id": "#(touch PWNED)"},
    ],
)
def test_a_link_to_w_and_b_that_is_none_is_not_shown(write: Write, values: dict[str, Any]) -> None:
    run = write()
    WandbLink("trainer", "otter", "id", "https://wandb.ai/x", str(run.root), (str(run.root),)).write(
        run.wandb_link("trainer")
    )
    assert len(read_wandb_links(run)) == 1
    path = run.wandb_link("trainer")
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    assert read_wandb_links(run) == []


def test_what_may_be_asked_for_can_be_read_back() -> None:
    """A configuration is not laxer than run.json: its longest name and its largest numbers are readable."""
    config: RLConfig = rl("--name", "a" * 63, "--max-steps", str(MOST_STEPS))
    progress = ProgressState(component="trainer", metric="loss", max_steps=config.max_steps)
    assert progress.max_steps == MOST_STEPS
    with pytest.raises(UserError, match=r"max.steps"):
        rl("--max-steps", str(MOST_STEPS + 1))


@pytest.mark.parametrize("one", [False, True], ids=["all", "one"])
def test_json_of_a_strangers_run_has_no_control_character(
    write: Write, here: Path, capsys: pytest.CaptureFixture[str], one: bool
) -> None:
    evil = "a\x7f\x1b[31m\x9b2J\u202eb"
    trainer = {"name": "trainer", "log": f"/{evil}.log", "error": evil}
    run = write(processes=[trainer], reason=evil).root.rename(here / "outputs" / evil)
    status(str(run) if one else None, as_json=True)
    shown, errors = capsys.readouterr()
    assert (printable(shown), errors) == (shown, "")
    said = json.loads(shown)
    assert (said if one else said[0])["directory"] == str(run)
