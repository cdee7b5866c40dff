"""Where the inference servers and services of a run are."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from launcher.config.run import Config, RLConfig
from launcher.config.serving import LOOPBACK
from launcher.errors import UserError
from launcher.plan.nodes import Nodes, url_host
from launcher.plan.rendezvous import rendezvous_ports
from launcher.plan.spec import Machine

ALL = "0.0.0.0"


@dataclass(frozen=True)
class Addresses:
    """The servers of an RL run, seen from one of them, or else from the node that the first one is on."""

    config: RLConfig
    machine: Machine
    number: int = 0  # of the server on its node

    @property
    def each(self) -> tuple["Addresses", ...]:
        """Seen from each server of this node."""
        return tuple(replace(self, number=number) for number in range(self.config.inference.replicas))

    @property
    def name(self) -> str:
        """The component's name: inference, or with replicas inference-0, inference-1, …"""
        return "inference" if self.config.inference.replicas == 1 else f"inference-{self.number}"

    @property
    def host(self) -> str:
        """The address that this node's server listens on. By default all, if other nodes must reach the server."""
        nodes = self.machine.nodes
        is_for_others = nodes is not None and nodes.servers != (nodes.orchestrator,)
        return self.config.inference.host or (ALL if is_for_others else LOOPBACK)

    @property
    def port(self) -> int:
        """Replicas listen on ports that follow each other."""
        return (self.config.inference.port or self.machine.free_port) + self.number

    @property
    def own_url(self) -> str:
        """This node's server, for this node."""
        reachable = LOOPBACK if self.host in (ALL, "::", "") else self.host
        return f"http://{url_host(reachable)}:{self.port}"

    @property
    def urls(self) -> str | None:
        """All servers, for the orchestrator: URL[,URL...]. None without any."""
        return ",".join(self._urls()) or None

    def _urls(self) -> tuple[str, ...]:
        config, nodes = self.config, self.machine.nodes
        if not config.inference.enabled:
            return (config.orchestrator.inference_url or "",)
        if nodes is None or (nodes.runs("inference") and nodes.runs("orchestrator") and len(nodes.servers) == 1):
            return tuple(server.own_url for server in self.each)
        return tuple(f"http://{self._at(nodes, node, server.number)}" for node in nodes.servers for server in self.each)

    def _at(self, nodes: Nodes, node: int, number: int) -> str:
        """Other nodes' hosts and ports are known once they have joined."""
        if nodes.hosts:
            return f"{url_host(nodes.hosts[node])}:{nodes.inference_ports[node] + number}"
        first = self.config.inference.port
        return f"node-{node}:{first + number if first else f'PORT+{number}' if number else 'PORT'}"


def check_ports(config: Config, machine: Machine) -> None:
    """Raises UserError if a server of this node has asked for the port of another one, or of the rendezvous.

    Only one of them could listen.
    """
    nodes, taken = machine.nodes, rendezvous_ports(config, machine.nodes)
    for option, port in _asked_ports(config):
        if nodes is not None and not nodes.runs("inference" if option.startswith("inference") else "service"):
            continue
        if port in taken:
            hint = "name another port; a service without one gets a free one, as {services.NAME.port}"
            raise UserError(f"{taken[port]} and --{option}: both have port {port}", hint)
        taken[port] = f"--{option}"


def _asked_ports(config: Config) -> Iterator[tuple[str, int]]:
    if isinstance(config, RLConfig) and config.inference.enabled and config.inference.port:
        first = config.inference.port
        yield from (("inference.port", first + number) for number in range(config.inference.replicas))
    yield from ((f"services.{name}.port", service.port) for name, service in config.services.items() if service.port)


def of_services(config: Config, machine: Machine) -> dict[str, str | None]:
    """Where each service is, as this node reaches it. A free port is known only to the node that runs them."""
    found: dict[str, str | None] = {}
    nodes = machine.nodes
    host = url_host(nodes.host) if nodes and nodes.rank else LOOPBACK
    for name, service in config.services.items():
        free = machine.service_ports.get(name) if nodes is None else None
        port = service.port or free
        found[f"services.{name}.port"] = str(port) if port else None
        found[f"services.{name}.url"] = f"http://{host}:{port}" if port else None
    return found
