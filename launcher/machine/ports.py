"""TCP ports for servers: free ones, and a look at those that were asked for."""

import errno
import random
import socket
from collections.abc import Collection

from launcher.config.run import Config
from launcher.config.serving import LOOPBACK
from launcher.errors import UserError
from launcher.plan.nodes import Nodes

PORTS = range(20_000, 29_000)
"""Where free ones are looked for. A server opens its port seconds after it was chosen, and nobody may get it meanwhile.
So these are below Linux's ephemeral ports, one of which every connection takes, and below torchrun's. Other launches
choose from them too: see `_choose`."""

_chosen: dict[int, int] = {}
"""Ports that this launch has chosen: each with the descriptor of a socket whose name says so, in the abstract names of
this network. The kernel takes the names back when this process and its forks have ended."""


def free_ports(host: str, count: int = 1, besides: Collection[int] = ()) -> range:
    """So many free ports in a row. Raises UserError if `host` is not an address of this machine."""
    try:
        _bind(host, 0)
    except OSError as error:
        what = f"--inference.host {host}: cannot listen there: {error.strerror}"
        raise UserError(what, "try 127.0.0.1") from None
    for first in random.sample(PORTS, len(PORTS)):
        found = range(first, first + count)
        if not any(port in besides for port in found) and all(_choose(host, port) for port in found):
            return found
    raise UserError(
        f"--inference.replicas {count}: found no {count} free ports in a row", "name them: --inference.port"
    )


def service_ports(config: Config, nodes: Nodes | None, besides: Collection[int] = ()) -> dict[str, int]:
    """A free port for each service that names none, no two the same. Raises UserError for a named one in use."""
    named = {name: service.port for name, service in config.services.items() if service.port}
    for name, port in named.items():
        if nodes is None or nodes.runs(name):
            check_port(LOOPBACK, port, f"--services.{name}.port")
    ports: dict[str, int] = {}
    for name in config.services.keys() - named.keys():
        ports[name] = free_ports(LOOPBACK, besides={*besides, *named.values(), *ports.values()}).start
    return ports


def check_port(host: str, port: int, option: str = "--inference.port") -> None:
    """Raises UserError if this port cannot be used."""
    try:
        _bind(host, port)
    except OSError as error:
        raise UserError(
            f"{option} {port}: {host}:{port} cannot be used: {error.strerror}",
            "name another port, or leave the option out to get a free one",
        ) from None


def _choose(host: str, port: int) -> bool:
    """Take a port from all other launches, if it is free and none of them has chosen it."""
    try:
        _bind(host, port)
    except OSError:
        return False
    if port in _chosen:
        return True
    name = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        name.bind(f"\0launch: port {port}")
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            name.close()
            return False  # otherwise there are no such names here, for no launch
    _chosen[port] = name.detach()
    return True


def _bind(host: str, port: int) -> None:
    """Raises OSError if a server could not have this port, and leaves it as it was."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
