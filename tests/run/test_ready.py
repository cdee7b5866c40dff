"""Whether a component can be used: asked of real sockets and real files."""

import asyncio
import socket
from pathlib import Path

from launcher.run.log_tail import LogTail
from launcher.run.ready import ready_probe, until_ready


def test_a_port_is_ready_once_somebody_listens(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        probe = ready_probe(f"tcp://127.0.0.1:{listener.getsockname()[1]}", tmp_path / "log")
        assert probe()
    assert not probe()


def test_a_log_is_ready_once_a_line_matches_wherever_in_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    probe = ready_probe(r"log:port \d+", log)
    assert not probe()
    log.write_text("running on po")
    assert not probe()
    with log.open("a") as file:
        file.write("rt 80\n")
    assert probe()


def test_what_an_earlier_start_has_logged_does_not_count(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("up\n")
    probe = ready_probe("log:up", log)
    assert not probe()
    with log.open("a") as file:
        file.write("up\n")
    assert probe()


def test_waiting_ends_with_the_time(tmp_path: Path) -> None:
    assert asyncio.run(until_ready(lambda: False, 0.05)) is None


def test_a_progress_bar_gives_lines_too(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"step 1\rstep 2\r\nstep 3\nste")
    tail = LogTail(log)
    assert [line for line in tail.new_lines() if line] == ["step 1", "step 2", "step 3"]
    assert tail.new_lines() == []
    assert tail.new_lines(is_over=True) == ["ste"]
