"""When a run's session goes: with its run, but never under somebody who looks at it; and servers that give no panes."""

import os
import shlex
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launcher.doctor.text import check_tmux
from launcher.errors import UserError
from launcher.view.tmux.attach import attach
from launcher.view.tmux.server import PATIENCE, TmuxError
from launcher.view.tmux.session import close_panes, ensure_panes, open_panes, set_status
from tests.tmux_server import TmuxServer
from tests.view.tmux.test_session import attaching, layout_of, settings
from tests.waiting import until

MARGIN = 8.0  # seconds, for a busy machine; a stopped server would take for ever


@pytest.fixture
def user(tmux: TmuxServer) -> TmuxServer:
    """Somebody who has a session of their own on the server."""
    tmux.run("new-session", "-d", "-s", "work")
    return tmux


def sessions(tmux: TmuxServer) -> list[str]:
    return tmux.run("list-sessions", "-F", "#S").splitlines()


def look_at(tmux: TmuxServer, session: str, *, closes: bool = False) -> str:
    """Attach in a terminal of its own, as `launch attach` does; the client's name."""
    *start, code = attaching(session)
    outer = TmuxServer(tmux.home, "outer")
    outer.open_terminal(*start, code.replace("'otter'", f"'otter', closes={closes}"))
    return until(lambda: tmux.run("list-clients", "-t", f"={session}", "-F", "#{client_name}"))


def leave(tmux: TmuxServer, client: str) -> None:
    tmux.run("detach-client", "-t", client)
    until(lambda: client not in tmux.run("list-clients", "-F", "#{client_name}"))


def test_a_session_that_nobody_looks_at_is_closed_with_its_run(user: TmuxServer, tmp_path: Path) -> None:
    before = settings(user)
    close_panes(open_panes(layout_of(tmp_path)))
    until(lambda: sessions(user) == ["work"])
    assert settings(user) == before


def test_a_session_that_somebody_looks_at_stays_until_they_leave(user: TmuxServer, tmp_path: Path) -> None:
    session = open_panes(layout_of(tmp_path))
    client = look_at(user, session)
    close_panes(session)
    set_status(session, "finished")
    assert session in sessions(user)
    assert "trainer" in user.panes("#{pane_title}")
    leave(user, client)
    until(lambda: sessions(user) == ["work"])


def test_somebody_who_switches_to_another_session_has_left(user: TmuxServer, tmp_path: Path) -> None:
    session = open_panes(layout_of(tmp_path))
    client = look_at(user, session)
    close_panes(session)
    user.run("switch-client", "-c", client, "-t", "=work")
    until(lambda: sessions(user) == ["work"])
    assert client in user.run("list-clients", "-F", "#{client_name}")


def test_the_panes_of_a_run_that_lives_outlast_those_who_look_at_them(user: TmuxServer, tmp_path: Path) -> None:
    session = open_panes(layout_of(tmp_path))
    panes = user.panes("#{pane_id}")
    leave(user, look_at(user, session))
    user.run("display-message", "-p", "x")  # the server has gone round its loop
    assert user.panes("#{pane_id}") == panes


def test_panes_opened_after_the_run_are_closed_when_they_are_left(user: TmuxServer, tmp_path: Path) -> None:
    close_panes(open_panes(layout_of(tmp_path)))
    until(lambda: sessions(user) == ["work"])
    session = ensure_panes(layout_of(tmp_path))
    client = look_at(user, session, closes=True)
    until(lambda: user.run("show-options", "-t", f"={session}:", "-v", "@launch_over") == "1")
    assert session in sessions(user)
    leave(user, client)
    until(lambda: sessions(user) == ["work"])


def test_a_pane_of_somebodys_own_keeps_the_session_open(user: TmuxServer, tmp_path: Path) -> None:
    session = open_panes(layout_of(tmp_path))
    mine = user.run("split-window", "-P", "-F", "#{pane_id}", "-t", f"={session}:=logs")
    close_panes(session)
    until(lambda: user.run("show-options", "-t", f"={session}:", "-v", "@launch_over") == "0")
    assert mine in user.panes("#{pane_id}")


def test_a_session_of_another_attempt_is_not_closed_by_the_end_of_the_first(user: TmuxServer, tmp_path: Path) -> None:
    client = look_at(user, open_panes(layout_of(tmp_path)))
    close_panes("launch-otter")
    assert open_panes(layout_of(tmp_path, attempt=2)) == "launch-otter"
    leave(user, client)
    assert "launch-otter" in sessions(user)


@pytest.fixture
def act(user: TmuxServer, tmp_path: Path) -> Iterator[Callable[[], None]]:
    """A session that somebody looks at after its run: what closes it has asked tmux, and acts with this call."""
    calls, proceed, tools = tmp_path / "calls", tmp_path / "proceed", tmp_path / "bin"
    stand_in(
        tools,
        f"""
        echo "$1" >>{shlex.quote(str(calls))}
        [ "$1" != if-shell ] || until [ -e {shlex.quote(str(proceed))} ]; do sleep 0.05; done
        """,
    )
    user.run("set-environment", "-g", "PATH", f"{tools}:{os.environ['PATH']}")
    look_at(user, open_panes(layout_of(tmp_path)))
    close_panes("launch-otter")
    until(lambda: calls.exists() and "if-shell" in calls.read_text())

    def go_on() -> None:
        proceed.touch()
        until(lambda: calls.read_text().count("display-message") == 2)  # it has acted, and asks again

    yield go_on
    proceed.touch()  # also if the test has failed: it would wait for ever


def stand_in(directory: Path, first: str) -> None:
    """A tmux in this directory that does this before it becomes the real one."""
    directory.mkdir()
    (directory / "tmux").write_text(f'#!/bin/sh\n{first}\nexec {shlex.quote(str(shutil.which("tmux")))} "$@"\n')
    (directory / "tmux").chmod(0o755)


def test_an_attempt_that_begins_while_the_session_is_about_to_close_keeps_it(
    user: TmuxServer, tmp_path: Path, act: Callable[[], None]
) -> None:
    open_panes(layout_of(tmp_path, attempt=2))
    leave(user, user.run("list-clients", "-F", "#{client_name}"))
    act()
    assert "launch-otter" in sessions(user)


def test_who_attaches_while_the_session_is_about_to_close_still_finds_it(
    user: TmuxServer, tmp_path: Path, act: Callable[[], None]
) -> None:
    leave(user, user.run("list-clients", "-F", "#{client_name}"))
    assert ensure_panes(layout_of(tmp_path), keep=True) == "launch-otter"
    act()
    assert "launch-otter" in sessions(user)


def test_a_session_that_is_closed_while_an_attempt_looks_for_it_is_opened_anew(
    user: TmuxServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_panes(layout_of(tmp_path))
    tmux, once = shlex.quote(str(shutil.which("tmux"))), shlex.quote(str(tmp_path / "once"))
    closing = (
        f'[ "$1" != list-panes ] || ! mkdir {once} || {{ {tmux} "$@"; exec {tmux} kill-session -t =launch-otter; }}'
    )
    stand_in(tmp_path / "bin", closing)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    assert open_panes(layout_of(tmp_path, attempt=2)) in sessions(user)
    assert (tmp_path / "once").exists()


def test_a_session_that_is_kept_for_who_attaches_is_closed_if_they_cannot(user: TmuxServer, tmp_path: Path) -> None:
    session = ensure_panes(layout_of(tmp_path), keep=True)
    with pytest.raises(UserError, match="no terminal to attach to"):
        attach(session, "otter", closes=True)
    until(lambda: sessions(user) == ["work"])


def test_leaving_a_session_that_ends_with_its_run_never_ends_the_users_server(user: TmuxServer, tmp_path: Path) -> None:
    """With `destroy-unattached` tmux 3.3a had a SIGSEGV one time in four, if it was asked something then."""
    server = user.run("display-message", "-p", "#{pid}")
    for attempt in range(1, 6):
        session = open_panes(layout_of(tmp_path, attempt=attempt))
        client = look_at(user, session)
        close_panes(session)
        user.run("detach-client", "-t", client)
        until(lambda: sessions(user) == ["work"])
    assert user.run("display-message", "-p", "#{pid}") == server


def test_a_session_that_is_gone_already_is_no_error(user: TmuxServer) -> None:
    close_panes("launch-otter")
    assert sessions(user) == ["work"]


# --- servers that give no panes ---------------------------------------------------------------------------------------


@pytest.fixture
def silent(user: TmuxServer) -> Iterator[TmuxServer]:
    server = int(user.run("display-message", "-p", "#{pid}"))
    os.kill(server, signal.SIGSTOP)
    yield user
    os.kill(server, signal.SIGCONT)


@pytest.mark.usefixtures("silent")
def test_a_silent_server_is_given_up_after_two_seconds_with_the_reason(tmp_path: Path) -> None:
    for ask in (open_panes, ensure_panes):
        began = time.monotonic()
        with pytest.raises(TmuxError, match="has not answered within 2s") as error:
            ask(layout_of(tmp_path))
        assert time.monotonic() - began < PATIENCE + MARGIN
        assert "pkill -CONT tmux" in str(error.value)


@pytest.mark.usefixtures("silent")
def test_doctor_says_that_a_server_is_silent() -> None:
    [check] = check_tmux()
    assert (check.state, "has not answered" in check.found, "pkill -CONT" in check.fix) == ("warn", True, True)


def test_doctor_is_content_where_no_server_runs(tmux: TmuxServer) -> None:
    assert [check.state for check in check_tmux()] == ["ok"]


def test_a_server_that_ends_when_nobody_is_attached_has_no_panes_and_says_why(tmux: TmuxServer, tmp_path: Path) -> None:
    tmux.configure("set -s exit-unattached on")
    with pytest.raises(TmuxError, match="as soon as nobody is attached") as error:
        open_panes(layout_of(tmp_path))
    assert "exit-unattached off" in str(error.value)


def test_such_a_server_has_panes_while_somebody_is_attached(user: TmuxServer, tmp_path: Path) -> None:
    look_at(user, "work")
    user.run("set-option", "-s", "exit-unattached", "on")
    assert open_panes(layout_of(tmp_path)) in sessions(user)
