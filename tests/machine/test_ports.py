"""Ports for servers."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.errors import UserError
from launcher.machine.ports import PORTS, check_port, free_ports
from launcher.machine.probe import probe
from tests.plans import rl, sft


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_port_that_is_taken_is_refused(taken: int) -> None:
    with pytest.raises(UserError, match=f"--inference.port {taken}: 127.0.0.1:{taken} cannot be used: Address already"):
        check_port("127.0.0.1", taken)


def test_a_free_port_can_be_used() -> None:
    check_port("127.0.0.1", free_ports("127.0.0.1").start)


@pytest.mark.parametrize("host", ["192.0.2.1", "256.0.0.1", "nowhere.invalid"])
def test_a_host_that_is_not_this_machine_is_refused(host: str) -> None:
    with pytest.raises(UserError, match=f"--inference.host {host}: cannot listen there"):
        free_ports(host)
    with pytest.raises(UserError, match=f"{host}:80 cannot be used"):
        check_port(host, 80)


def test_a_port_that_was_asked_for_is_tried(taken: int) -> None:
    with pytest.raises(UserError, match="cannot be used"):
        probe(rl("--inference.port", str(taken)))


def test_each_service_that_names_no_port_gets_a_free_one_of_its_own(taken: int) -> None:
    names = [f"s{number}" for number in range(20)]
    config = sft(*(word for name in names for word in (f"--services.{name}.command", "true")))
    assert len(set(probe(config).service_ports.values())) == len(names)
    with pytest.raises(UserError, match=f"--services.s0.port {taken}: 127.0.0.1:{taken} cannot be used"):
        probe(sft("--services.s0.command", "true", "--services.s0.port", str(taken)))


def test_a_free_port_is_none_that_the_kernel_could_give_to_a_client_before_the_server_has_it() -> None:
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    if first < PORTS.stop:
        pytest.skip("this machine has ephemeral ports nearly everywhere")
    found = {*free_ports("127.0.0.1", 3), *probe(sft("--services.a.command", "true")).service_ports.values()}
    found.add(probe(rl()).free_port)
    assert len(found) == 5
    assert not found & set(range(first, last + 1))


def test_several_free_ports_are_in_a_row_and_none_of_those_that_are_spoken_for() -> None:
    free = free_ports("127.0.0.1", 3)
    spoken_for = set(PORTS) - set(free)
    assert free_ports("127.0.0.1", 3, spoken_for) == free
    with socket.create_server(("127.0.0.1", free[1])), pytest.raises(UserError, match="found no 3 free ports in a row"):
        free_ports("127.0.0.1", 3, spoken_for)


def test_a_port_that_another_launch_has_chosen_is_not_chosen_before_its_server_opens_it() -> None:
    code = "from launcher.machine.ports import free_ports; print(free_ports('127.0.0.1').start, flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout
        port = int(other.stdout.readline())
        check_port("127.0.0.1", port)
        with pytest.raises(UserError, match="found no 1 free ports in a row"):
            free_ports("127.0.0.1", besides=set(PORTS) - {port})
        other.communicate("\n")
