"""The panes on a real tmux server, for users of any configuration and paths of any name."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.errors import UserError
from launcher.view.tmux.attach import attach
from launcher.view.tmux.layout import Layout, PaneSource, Window, follow, run_layout
from launcher.view.tmux.server import TmuxError, socket_around
from launcher.view.tmux.session import ensure_panes, open_panes, set_status
from tests.tmux_server import TmuxServer
from tests.waiting import until

COMPONENTS = ("trainer", "orchestrator", "inference")
NASTY = [
    "a b",
    "it's",
    'q"q',
    "new\nline",
    "$(touch pwned)",
    "`touch pwned`",
    "ünï",
    "#{pane_id}",
    "#(touch pwned)",
    "a;",
]
ODD_CONFIGURATION = """
set -g base-index 1
set -g pane-base-index 1
set -g default-command 'echo odd; exec /bin/sh'
set -g remain-on-exit on
set -g destroy-unattached on
set -g status off
set -g automatic-rename on
set -g renumber-windows on
set -g pane-border-format 'mine'
"""


def layout_of(root: Path, run: str = "otter", attempt: int = 1, ranks: int = 2) -> Layout:
    logs = root / "logs" / f"attempt_{attempt}"
    (logs / "trainer").mkdir(parents=True, exist_ok=True)
    return run_layout(
        run,
        root,
        [PaneSource(name, logs / f"{name}.log") for name in COMPONENTS],
        [follow(PaneSource(f"rank {rank}", logs / "trainer" / f"rank_{rank}.log")) for rank in range(ranks)],
        logs / "launcher.log",
    )


@pytest.fixture(params=["", ODD_CONFIGURATION], ids=["plain", "odd"])
def any_user(request: pytest.FixtureRequest, tmux: TmuxServer) -> TmuxServer:
    tmux.configure(request.param)
    return tmux


def test_the_windows_and_titles_are_those_of_the_layout(any_user: TmuxServer, tmp_path: Path) -> None:
    layout = layout_of(tmp_path, ranks=9)
    assert open_panes(layout) == "launch-otter"
    expected = [f"{window.name} {pane.title}" for window in layout.windows for pane in window.panes]
    assert any_user.panes("#W #{pane_title}") == expected
    assert any_user.run("display-message", "-p", "-t", "=launch-otter:", "#W #{pane_title}") == "logs trainer"


@pytest.mark.parametrize("name", NASTY)
def test_a_pane_follows_its_file_whatever_the_path(
    tmux: TmuxServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    layout = layout_of(tmp_path / name)
    open_panes(layout)
    log = tmp_path / name / "logs" / "attempt_1" / "trainer.log"
    log.write_text("first line\n")
    pane = pane_ids(tmux)["trainer"]
    tmux.wait_for_text(pane, "first line")
    with log.open("a") as file:
        file.write("second line\n")
    tmux.wait_for_text(pane, "second line")
    assert list(tmp_path.rglob("pwned")) == []


@pytest.mark.parametrize("title", ["#{pane_id}", "#[fg=red]x", "#(touch pwned)", "a;", "ünï", "50%"])
def test_a_title_is_shown_as_it_is(tmux: TmuxServer, tmp_path: Path, title: str) -> None:
    pane = follow(PaneSource(title, tmp_path / "x.log"))
    session = open_panes(Layout("launch-x", tmp_path, (Window("logs", (pane, pane)),)))
    assert tmux.panes("#{pane_title}") == [title, title]
    outer = TmuxServer(tmux.home, "outer")
    terminal = outer.open_terminal(*attaching(session))
    until(lambda: outer.screen(terminal).count(f" {title} ") == 2)


def test_colours_are_added_in_the_pane(tmux: TmuxServer, tmp_path: Path) -> None:
    layout = layout_of(tmp_path)
    open_panes(layout)
    (tmp_path / "logs/attempt_1/trainer.log").write_text("[trainer0]:2026-11-23 03:10:02.123 | ERROR   | bad\n")
    shown = tmux.wait_for_text(pane_ids(tmux)["trainer"], "bad", "-e")
    assert "\x1b[1m\x1b[31mERROR" in shown


def test_the_users_server_keeps_its_options_and_sessions(any_user: TmuxServer, tmp_path: Path) -> None:
    any_user.run("new-session", "-d", "-s", "work", ";", "set-option", "-t", "work", "destroy-unattached", "off")
    before = settings(any_user)
    set_status(open_panes(layout_of(tmp_path)), "step 1")
    assert settings(any_user) == before
    assert any_user.run("list-windows", "-t", "=work", "-F", "#I") == any_user.run("show-options", "-gv", "base-index")


def test_a_new_attempt_replaces_the_panes_of_the_one_before(any_user: TmuxServer, tmp_path: Path) -> None:
    open_panes(layout_of(tmp_path))
    first = set(any_user.panes("#{pane_id}"))
    assert open_panes(layout_of(tmp_path, attempt=2)) == "launch-otter"
    commands = any_user.panes("#{pane_start_command}")
    assert len(commands) == 6
    assert all("attempt_2" in command for command in commands)
    assert first.isdisjoint(any_user.panes("#{pane_id}"))


def test_what_a_person_added_to_the_session_outlives_an_attempt(tmux: TmuxServer, tmp_path: Path) -> None:
    session = open_panes(layout_of(tmp_path))
    mine = tmux.run("split-window", "-P", "-F", "#{pane_id}", "-t", f"={session}:=logs")
    open_panes(layout_of(tmp_path, attempt=2))
    assert mine in tmux.panes("#{pane_id}")


def test_a_run_of_the_same_name_elsewhere_keeps_its_session(tmux: TmuxServer, tmp_path: Path) -> None:
    names = [open_panes(layout_of(tmp_path / directory)) for directory in ("one", "two", "one")]
    assert names == ["launch-otter", "launch-otter-2", "launch-otter"]


def test_panes_that_are_all_there_are_left_alone(tmux: TmuxServer, tmp_path: Path) -> None:
    open_panes(layout_of(tmp_path))
    panes = tmux.panes("#{pane_id}")
    assert ensure_panes(layout_of(tmp_path)) == "launch-otter"
    assert tmux.panes("#{pane_id}") == panes


@pytest.mark.parametrize("closed", [("kill-server",), ("kill-session", "-t", "launch-otter"), ("kill-pane",)])
def test_panes_that_were_closed_are_opened_again(tmux: TmuxServer, tmp_path: Path, closed: tuple[str, ...]) -> None:
    open_panes(layout_of(tmp_path))
    tmux.run(*closed)
    until(lambda: not panes_of(tmux) or len(panes_of(tmux)) == 5)
    ensure_panes(layout_of(tmp_path))
    assert len(panes_of(tmux)) == 6


def test_a_pane_takes_no_input(tmux: TmuxServer, tmp_path: Path) -> None:
    open_panes(layout_of(tmp_path))
    log = tmp_path / "logs/attempt_1/trainer.log"
    log.write_text("before\n")
    pane = pane_ids(tmux)["trainer"]
    tmux.wait_for_text(pane, "before")
    tmux.run("send-keys", "-t", pane, "typed", "Enter", "C-c", "C-d")
    log.write_text("before\nafter\n")
    assert "typed" not in tmux.wait_for_text(pane, "after")


def test_a_program_that_draws_the_metrics_takes_keys(tmux: TmuxServer, tmp_path: Path) -> None:
    layout = run_layout("otter", tmp_path, [PaneSource("trainer", tmp_path / "x")], [], tmp_path / "y", ("cat",))
    open_panes(layout)
    off = dict(row.split(" ") for row in tmux.panes("#{pane_title} #{pane_input_off}"))
    assert off == {"trainer": "1", "launcher": "1", "metrics": "0"}


def test_the_mouse_is_on_and_the_scrollback_long_in_our_session_alone(tmux: TmuxServer, tmp_path: Path) -> None:
    tmux.run("new-session", "-d", "-s", "work")
    session = open_panes(layout_of(tmp_path))
    shown = {row.split(" ")[0]: row.split(" ")[1:] for row in tmux.panes("#S #{mouse} #{history_limit}")}
    assert shown == {"work": ["0", "2000"], session: ["1", "50000"]}


@pytest.mark.parametrize("made", [(80, 24), (200, 50)])
def test_at_any_size_a_busy_pane_has_room_for_two_steps_and_a_quiet_one_is_smallest(
    tmux: TmuxServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: tuple[int, int]
) -> None:
    set_terminal_size(monkeypatch, made)
    sources = [PaneSource(name, tmp_path / name, quiet=name == "inference") for name in COMPONENTS]
    session = open_panes(run_layout("otter", tmp_path, sources, [], tmp_path / "launcher.log"))
    for columns, lines in [(80, 24), (120, 40), (200, 50)]:
        tmux.run("resize-window", "-t", f"={session}:=logs", "-x", str(columns), "-y", str(lines))
        until(lambda lines=lines: is_divided(heights(tmux), lines))
        assert {row.split(" ")[1] for row in tmux.panes("#W #{pane_width}") if row.startswith("logs ")} == {
            str(columns)
        }


def is_divided(rows: dict[str, int], lines: int) -> bool:
    """A hook of tmux's does it, a pane after the other."""
    quiet, busy = rows["inference"], min(rows["trainer"], rows["orchestrator"])
    return quiet in range(2, lines // 5) and busy >= max(5, 2 * quiet)


def heights(tmux: TmuxServer) -> dict[str, int]:
    return {
        title: int(lines) for title, lines in (row.split(" ") for row in tmux.panes("#{pane_title} #{pane_height}"))
    }


@pytest.mark.parametrize(("prefix", "shown"), [("C-b", "C-b"), ("C-a", "C-a"), ("None", "M-x")])
def test_the_way_out_is_on_the_border_with_the_users_prefix(
    tmux: TmuxServer, tmp_path: Path, prefix: str, shown: str
) -> None:
    tmux.configure(f"set -g prefix {prefix}\nset -g prefix2 M-x")
    session = open_panes(layout_of(tmp_path))
    outer = TmuxServer(tmux.home, "outer")
    terminal = outer.open_terminal(*attaching(session), columns=80, lines=24)
    outer.wait_for_text(terminal, f" {shown} d leaves · {shown} [ scrolls · {shown} n next ")


def test_the_status_line_shows_the_text_and_runs_nothing_of_it(tmux: TmuxServer, tmp_path: Path) -> None:
    session = open_panes(layout_of(tmp_path))
    outer = TmuxServer(tmux.home, "outer")
    terminal = outer.open_terminal(*attaching(session))
    set_status(session, "step 3/150 · 50% · #{pid} #(touch pwned) running;")
    outer.wait_for_text(terminal, "step 3/150 · 50% · #{pid} #(touch pwned) running;")


def test_the_status_of_a_closed_session_is_no_error(tmux: TmuxServer) -> None:
    set_status("launch-otter", "step 3/150")


def test_a_server_that_we_start_has_no_secrets_and_no_variables_of_ours(
    tmux: TmuxServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WANDB_API_KEY", "LAUNCH_ATTEMPT", "PLAIN"):
        monkeypatch.setenv(name, "value")
    open_panes(layout_of(tmp_path))
    variables = tmux.run("show-environment", "-g")
    assert "PLAIN=value" in variables
    assert "WANDB_API_KEY" not in variables
    assert "LAUNCH_ATTEMPT" not in variables


def test_a_server_that_we_start_has_no_files_of_ours_open(tmux: TmuxServer, tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as lock:
        os.set_inheritable(lock.fileno(), True)
        open_panes(layout_of(tmp_path))
        pid = tmux.run("display-message", "-p", "#{pid}")
        files = [file.resolve() for file in Path(f"/proc/{pid}/fd").iterdir()]
    assert tmp_path / "lock" not in files


def test_without_tmux_the_error_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TmuxError, match="tmux is not installed") as error:
        open_panes(layout_of(tmp_path))
    assert "apt install tmux" in str(error.value)


def test_a_server_that_cannot_start_is_told(tmux: TmuxServer, tmp_path: Path) -> None:
    with pytest.raises(TmuxError, match="tmux has refused"):
        open_panes(layout_of(tmp_path), "no/such/directory")


@pytest.mark.parametrize(("made", "shown"), [((200, 50), (80, 24)), ((80, 24), (200, 50))], ids=["shrinks", "grows"])
def test_outside_tmux_the_terminal_becomes_tmux_and_shows_all_panes_whatever_its_size(
    tmux: TmuxServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: tuple[int, int], shown: tuple[int, int]
) -> None:
    set_terminal_size(monkeypatch, made)
    session = open_panes(layout_of(tmp_path, ranks=8))
    outer = TmuxServer(tmux.home, "outer")
    terminal = outer.open_terminal(*attaching(session), columns=shown[0], lines=shown[1])
    outer.wait_for_text(terminal, "launch-otter")
    until(lambda: all(name in outer.screen(terminal) for name in COMPONENTS))
    tmux.run("select-window", "-t", "=launch-otter:=ranks")
    outer.wait_for_text(terminal, "rank 7")
    until(lambda: all(f"rank {rank}" in outer.screen(terminal) for rank in range(8)))


def test_inside_tmux_the_client_switches(tmux: TmuxServer, tmp_path: Path) -> None:
    shell = tmux.open_terminal()
    outer = TmuxServer(tmux.home, "outer")
    outer.open_terminal("env", "-u", "TMUX", "tmux", "attach")
    until(lambda: tmux.run("list-clients"))
    session = open_panes(layout_of(tmp_path))
    tmux.run("send-keys", "-t", shell, shlex.join(attaching(session)[3:]), "Enter")
    until(lambda: tmux.run("list-clients", "-F", "#{session_name}") == session)


def test_inside_another_tmux_server_the_session_is_shown_in_the_pane(tmux: TmuxServer, tmp_path: Path) -> None:
    session = open_panes(layout_of(tmp_path), "private")
    shell = tmux.open_terminal()
    tmux.run("send-keys", "-t", shell, shlex.join(attaching(session, "private")[3:]), "Enter")
    tmux.wait_for_text(shell, "orchestrator")


@pytest.mark.parametrize(("socket", "name"), [("work", "work"), ("default", None)])
def test_inside_a_server_of_another_name_that_is_where_the_panes_are_found_later(
    tmux: TmuxServer, monkeypatch: pytest.MonkeyPatch, socket: str, name: str | None
) -> None:
    assert socket_around() is None
    monkeypatch.setenv("TMUX", f"{tmux.home}/tmux-{os.getuid()}/{socket},4711,0")
    assert socket_around() == name
    monkeypatch.setenv("TMUX", "/elsewhere/socket,4711,0")  # of `tmux -S`, which has no name
    assert socket_around() is None


def test_attach_can_name_the_window(tmux: TmuxServer, tmp_path: Path) -> None:
    session = open_panes(layout_of(tmp_path))
    outer = TmuxServer(tmux.home, "outer")
    terminal = outer.open_terminal(*attaching(session, "default", "ranks"))
    outer.wait_for_text(terminal, "rank 1")


def test_a_window_that_is_not_there_is_told_with_those_that_are(tmux: TmuxServer, tmp_path: Path) -> None:
    session = open_panes(layout_of(tmp_path))
    with pytest.raises(UserError, match="logs, ranks, launcher"):
        attach(session, "otter", window="rank")


def test_without_a_terminal_attach_names_launch_logs(tmux: TmuxServer, tmp_path: Path) -> None:
    session = open_panes(layout_of(tmp_path))
    with pytest.raises(UserError, match="launch logs otter"):
        attach(session, "otter")


def set_terminal_size(monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
    """Of the terminal where launch is typed; pytest-xdist says another one than pytest alone."""
    monkeypatch.setenv("COLUMNS", str(size[0]))
    monkeypatch.setenv("LINES", str(size[1]))


def attaching(session: str, *more: str) -> tuple[str, ...]:
    """A command line that attaches, as `launch attach` does; outside tmux if the terminal is made with TMUX unset."""
    arguments = ", ".join(repr(argument) for argument in (session, "otter", *more))
    return (
        "env",
        "-u",
        "TMUX",
        sys.executable,
        "-c",
        f"from launcher.view.tmux.attach import attach; attach({arguments})",
    )


def pane_ids(tmux: TmuxServer) -> dict[str, str]:
    return {line.split(" ", 1)[1]: line.split(" ", 1)[0] for line in tmux.panes("#{pane_id} #{pane_title}")}


def panes_of(tmux: TmuxServer) -> list[str]:
    command = ["tmux", "list-panes", "-a", "-F", "#{pane_id}"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()


def settings(tmux: TmuxServer) -> tuple[str, ...]:
    scopes = ("-g", "-gw", "-s", "-t=work:")
    return (*(tmux.run("show-options", scope) for scope in scopes), tmux.run("show-hooks", "-g"))
