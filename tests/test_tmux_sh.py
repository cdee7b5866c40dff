"""tmux.sh in a real bash and tmux: the panes of launcher/view/tmux/layout.py before a run starts, without Python."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from launcher.rundir import RunDir
from launcher.view.tmux.layout import BORDER, SCROLLBACK, PaneSource, run_layout
from tests.tmux_server import TmuxServer
from tests.waiting import until

SCRIPT = Path(__file__).parents[1] / "tmux.sh"
NASTY = ["a b", "it's", 'q"q', "new\nline", "trailing\n", "$(touch pwned)", "ünï", "#{pane_id}", "#(touch pwned)", "a;"]


def run_script(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = ["bash", SCRIPT, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, stdin=subprocess.DEVNULL)


def open_panes(*arguments: str | Path, cwd: Path | None = None) -> None:
    done = run_script(*arguments, cwd=cwd)
    assert (done.returncode, done.stderr) == (0, "")


def start_attempt(run: Path, number: int, text: str) -> None:
    """What a run does to its directory: new files first, then the link moves."""
    attempt = RunDir(run, number)
    attempt.logs.mkdir(parents=True)
    attempt.component_log("trainer").write_text(text)
    link = run / "logs" / "next"
    link.symlink_to(attempt.logs.name)
    link.replace(attempt.latest_logs)


def log_panes(tmux: TmuxServer) -> dict[str, str]:
    """Pane ids of the window `logs` by title."""
    rows = [row.split(" ") for row in tmux.panes("#W #{pane_title} #{pane_id}")]
    return {row[1]: row[2] for row in rows if row[0] == "logs"}


def test_the_log_panes_are_those_of_the_layout(tmux: TmuxServer, tmp_path: Path) -> None:
    open_panes("-o", tmp_path)
    components = [PaneSource(name, tmp_path) for name in ("trainer", "orchestrator", "inference")]
    described = run_layout("otter", tmp_path, components, [], tmp_path).windows[0]
    assert described.name == "logs"
    assert list(log_panes(tmux)) == [pane.title for pane in described.panes]
    assert tmux.run("show-options", "-wv", "-t", "=launch:=logs", "pane-border-status") == "top"
    assert tmux.run("show-options", "-wv", "-t", "=launch:=logs", "pane-border-format") == BORDER
    assert tmux.run("show-options", "-v", "-t", "=launch:", "mouse") == "on"
    fields = ("#{history_limit}", "#{pane_input_off}", "#{pane_start_command}")
    rows = [row.split(" ") for row in tmux.panes(" ".join(fields)) if "--follow" in row]
    assert [row[:2] for row in rows] == [[str(SCROLLBACK), "1"]] * 3


def test_the_rows_have_the_heights_of_the_layout_at_any_size(tmux: TmuxServer, tmp_path: Path) -> None:
    open_panes("-o", tmp_path)
    sources = [PaneSource(name, tmp_path, quiet=name == "inference") for name in log_panes(tmux)]
    percentages = run_layout("otter", tmp_path, sources, [], tmp_path).windows[0].percentages
    for lines in (50, 24):
        tmux.run("resize-window", "-t", "=launch:=logs", "-x", "80", "-y", str(lines))
        until(lambda lines=lines: heights(tmux)[:2] == [lines * part // 100 for part in percentages[:2]])


def heights(tmux: TmuxServer) -> list[int]:
    rows = [row.split(" ") for row in tmux.panes("#W #{pane_height} #{pane_width}")]
    assert {row[2] for row in rows if row[0] == "logs"} == {"80"}
    return [int(row[1]) for row in rows if row[0] == "logs"]


def test_the_launcher_window_comes_first_and_has_a_shell_where_the_script_was_called(
    tmux: TmuxServer, tmp_path: Path
) -> None:
    open_panes(cwd=tmp_path)
    assert tmux.run("display-message", "-p", "-t", "=launch:", "#W #{pane_current_path}") == f"launcher {tmp_path}"


@pytest.mark.parametrize("name", NASTY)
def test_the_panes_follow_logs_that_appear_later_whatever_the_path(tmux: TmuxServer, tmp_path: Path, name: str) -> None:
    open_panes("-o", name, cwd=tmp_path)
    start_attempt(tmp_path / name, 1, "first line\n")
    pane = log_panes(tmux)["trainer"]
    tmux.wait_for_text(pane, "first line")
    with RunDir(tmp_path / name).component_log("trainer").open("a") as log:
        log.write("2026-11-23 03:10:02.123 | ERROR   | second line\n")
    tmux.wait_for_text(pane, "second line")
    assert "\x1b[1m\x1b[31mERROR" in tmux.screen(pane, "-e")
    assert list(tmp_path.rglob("pwned")) == []


def test_the_panes_move_on_to_the_next_attempt(tmux: TmuxServer, tmp_path: Path) -> None:
    open_panes("-o", tmp_path)
    start_attempt(tmp_path, 1, "of the first\n")
    pane = log_panes(tmux)["trainer"]
    tmux.wait_for_text(pane, "of the first")
    start_attempt(tmp_path, 2, "of the second\n")
    tmux.wait_for_text(pane, "of the second")
    with RunDir(tmp_path, 1).component_log("trainer").open("a") as log:
        log.write("too late\n")
    with RunDir(tmp_path, 2).component_log("trainer").open("a") as log:
        log.write("in time\n")
    assert "too late" not in tmux.wait_for_text(pane, "in time")


@pytest.mark.parametrize("planted", ["logs/attempt_1/trainer.log", "logs/attempt_1", "logs"])
def test_a_link_that_leads_outside_the_logs_is_not_shown(tmux: TmuxServer, tmp_path: Path, planted: str) -> None:
    run, secret = tmp_path / "run", tmp_path / "secret"
    start_attempt(run, 1, "of the run\n")
    (run / planted).rename(secret)
    log = secret / Path("logs/attempt_1/trainer.log").relative_to(planted)
    log.write_text("secret\n")
    (run / planted).symlink_to(secret)
    open_panes("-o", run)
    text = tmux.wait_for_text(log_panes(tmux)["trainer"], "is not shown: leads outside")
    assert "secret\n" not in text


def test_by_default_the_panes_follow_the_newest_run(tmux: TmuxServer, tmp_path: Path) -> None:
    open_panes(cwd=tmp_path)
    for run in ("one", "two"):
        start_attempt(tmp_path / "outputs" / run, 1, f"this is {run}\n")
        (tmp_path / "outputs" / "latest").unlink(missing_ok=True)
        (tmp_path / "outputs" / "latest").symlink_to(run)
        tmux.wait_for_text(log_panes(tmux)["trainer"], f"this is {run}")


def test_a_second_call_finds_the_session_and_opens_what_was_closed(tmux: TmuxServer, tmp_path: Path) -> None:
    open_panes("-o", tmp_path)
    launcher = tmux.panes("#{pane_id}")[0]
    tmux.run("kill-window", "-t", "=launch:=logs")
    open_panes("-o", tmp_path)
    open_panes("-o", tmp_path)
    assert tmux.panes("#{pane_id}")[0] == launcher
    assert len(tmux.panes("#{pane_id}")) == 4


def test_on_a_terminal_it_attaches(tmux: TmuxServer, tmp_path: Path) -> None:
    outer = TmuxServer(tmux.home, "outer")
    terminal = outer.open_terminal("env", "-u", "TMUX", str(SCRIPT), "-s", "mine", "-o", str(tmp_path))
    outer.wait_for_text(terminal, "[mine]")


def test_inside_tmux_the_client_switches(tmux: TmuxServer, tmp_path: Path) -> None:
    shell = tmux.open_terminal()
    TmuxServer(tmux.home, "outer").open_terminal("env", "-u", "TMUX", "tmux", "attach")
    until(lambda: tmux.run("list-clients"))
    tmux.run("send-keys", "-t", shell, shlex.join([str(SCRIPT), "-o", str(tmp_path)]), "Enter")
    until(lambda: tmux.run("list-clients", "-F", "#{session_name}") == "launch")


def test_without_a_terminal_it_says_how_to_attach(tmux: TmuxServer, tmp_path: Path) -> None:
    assert "tmux attach -t launch" in run_script("-o", tmp_path).stdout


def test_any_configuration_of_the_user_will_do(tmux: TmuxServer, tmp_path: Path) -> None:
    tmux.configure("""
        set -g base-index 1
        set -g pane-base-index 1
        set -g default-command 'echo odd; exec /bin/sh'
        set -g remain-on-exit on
        set -g destroy-unattached on
    """)
    open_panes("-o", tmp_path)
    assert len(log_panes(tmux)) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-x"], "no option -x"),
        (["-s"], "-s needs a value"),
        (["-s", "a.b"], "-s 'a.b'"),
        (["-o", ""], "-o is empty"),
        (["outputs"], "unexpected argument 'outputs'"),
    ],
)
def test_a_wrong_request_is_one_message_and_exit_code_2(tmux: TmuxServer, arguments: list[str], message: str) -> None:
    done = run_script(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmux.home.iterdir()) == []


def test_a_session_that_shows_another_directory_is_left_alone(tmux: TmuxServer, tmp_path: Path) -> None:
    open_panes("-o", tmp_path / "one")
    done = run_script("-o", tmp_path / "two")
    assert done.returncode == 2
    assert "choose another name with -s" in done.stderr


def test_without_tmux_it_says_how_to_install_it(tmp_path: Path) -> None:
    for tool in ("bash", "readlink"):
        (tmp_path / tool).symlink_to(f"/bin/{tool}")
    done = subprocess.run(
        ["bash", SCRIPT],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 2
    assert "apt install tmux" in done.stderr


def test_help_lists_every_option() -> None:
    done = run_script("-h")
    assert done.returncode == 0
    assert all(option in done.stdout for option in ("-s SESSION", "-o OUTPUT_DIR", "-h"))


def test_shellcheck_finds_nothing() -> None:
    subprocess.run(["shellcheck", SCRIPT], check=True)


def test_it_can_be_started_as_a_program() -> None:
    assert os.access(SCRIPT, os.X_OK)
