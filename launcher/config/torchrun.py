"""torchrun's own flags, one field each. The plan makes torchrun's command line from them."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from launcher.borders.values import MOST_COUNT, MOST_PORT, whole_number
from launcher.config.base import Directory, Section, SmallInt

NOWHERE = "localhost:0"  # the default endpoint, useful on one node only
TORCHRUN_PORT = 29500  # torchrun's default port of an endpoint
C10D_PORT = 29400  # that of an endpoint without a port, for c10d
HOST = re.compile(r"[\w.:-]+")  # as torchrun has it
STATIC, C10D = "static", "c10d"


def _ranks(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return (value,) if isinstance(value, int) else value


Ranks = Annotated[tuple[SmallInt, ...], BeforeValidator(_ranks, json_schema_input_type=tuple[int, ...] | int | str)]
"""Local ranks, as a list or as "0,2"."""


def _streams(text: str) -> str:
    if not re.fullmatch(r"[0-3]|\d:[0-3](,\d:[0-3])*", text):
        raise ValueError("must be 0 (none), 1 (stdout), 2 (stderr), 3 (both), or RANK:N,... with ranks of one digit")
    return text


Streams = Annotated[str, BeforeValidator(str, json_schema_input_type=str | int), AfterValidator(_streams)]
"""Which streams, for all ranks or rank by rank, as torchrun's --redirects and --tee take it."""


def _identifier(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", text):
        raise ValueError("must be letters, digits, '-', '_' and '.': it becomes the name of a directory")
    return text


def _nodes(text: str) -> str:
    numbers = text.split(":")
    if len(numbers) > 2 or not all(whole_number(number) for number in numbers):
        raise ValueError(f"must be a number from 1 to {MOST_COUNT}, or MIN:MAX")
    fewest, most = int(numbers[0]), int(numbers[-1])
    if fewest > most:
        raise ValueError(f"MIN:MAX is the other way round: {most}:{fewest}")
    return text if fewest < most else str(most)


def _settings(text: str) -> str:
    if text and not all(re.fullmatch(r"\s*[^=\s]+\s*=.+", pair) for pair in text.split(",")):
        raise ValueError("must be KEY=VALUE,...")
    return text


def _host(text: str) -> str:
    host, _, port = text.partition(":")
    if host and port.isdecimal():
        raise ValueError(f"has a port: write --master-addr {host} --master-port {port}")
    if not HOST.fullmatch(text.strip("[]")):
        raise ValueError("must be the name or address of a host, without a port")
    return text


class TorchrunConfig(Section):
    nnodes: Annotated[str, BeforeValidator(str, json_schema_input_type=str | int), AfterValidator(_nodes)] = Field(
        "1", description="nodes, or a range MIN:MAX"
    )
    node_rank: SmallInt | None = Field(None, ge=0, description="this node's rank, counted from 0")
    rdzv_backend: str | None = Field(None, description="rendezvous backend; default: c10d, or static for several nodes")
    rdzv_endpoint: str = Field(
        NOWHERE, description="HOST:PORT of the rendezvous; HOST is node 0, and PORT + 1 must be free too"
    )
    rdzv_id: Annotated[str, AfterValidator(_identifier)] | None = Field(
        None, description="rendezvous id; default: the run's name and its attempt"
    )
    rdzv_conf: Annotated[str, AfterValidator(_settings)] | None = Field(
        None, description="further rendezvous settings, KEY=VALUE,..."
    )
    max_restarts: SmallInt = Field(0, ge=0, description="restarts of the worker group by torchrun itself")
    monitor_interval: float | None = Field(
        None, gt=0, le=86400, description="seconds between torchrun's checks of its workers"
    )
    start_method: Literal["spawn", "fork", "forkserver"] | None = Field(None, description="how workers are created")
    event_log_handler: str | None = Field(None, description="name of a registered event logging handler")
    role: str = Field("trainer", description="role of the workers; prefix of their lines on the console")
    log_dir: Directory | None = Field(None, description="per-rank files; default: <output-dir>/logs/attempt_N/torchrun")
    redirects: Streams = Field("3", description="streams in the per-rank files: 0 none, 1 stdout, 2 stderr, 3 both")
    tee: Streams = Field("3", description="streams on the console as well, in the same form")
    local_ranks_filter: Ranks = Field((0,), description="local ranks shown on the console, R[,R...]")
    duplicate_stdout_filters: str | None = Field(
        None, description="words; a stdout line with one of them is also copied to a file"
    )
    duplicate_stderr_filters: str | None = Field(
        None, description="words; a stderr line with one of them is also copied to a file"
    )
    master_addr: Annotated[str, AfterValidator(_host)] | None = Field(
        None, description="address of node 0: the host of a static rendezvous, in place of rdzv_endpoint"
    )
    master_port: int | None = Field(
        None, ge=1, le=MOST_PORT, description="port on node 0: that of a static rendezvous; default: 29500"
    )
    local_addr: str | None = Field(None, description="address of this node")
    logs_specs: str = Field("launch", description="entry point that lays out the per-rank files")
    numa_binding: Literal["node", "socket", "exclusive", "core-complex"] | None = Field(
        None, description="bind workers to the CPUs near their GPUs"
    )
    signals_to_handle: str | None = Field(None, description="signals that torchrun forwards, SIG[,SIG...]")
    shutdown_timeout: int | None = Field(None, ge=0, lt=2**31, description="seconds until torchrun kills its workers")
    virtual_local_rank: bool = Field(False, description="every worker sees its GPU as device 0")
    standalone: bool = Field(
        False, description="one node, and a rendezvous on a free port: what launch does by default"
    )
    no_python: bool = Field(False, description="the script is a program of its own: start it without Python")
    run_path: bool = Field(False, description="run the script inside torchrun's workers, by runpy.run_path")

    @model_validator(mode="after")
    def _one_meeting_point(self) -> Self:
        if self.standalone and (self.nnodes != "1" or self.rdzv_endpoint != NOWHERE):
            raise ValueError("standalone is for one node, and takes a free port by itself; leave it out")
        if self.rdzv_endpoint != NOWHERE and self._master not in (None, self.rdzv_endpoint):
            raise ValueError(
                f"the rendezvous is at rdzv_endpoint {self.rdzv_endpoint} and at {self._master} (master_addr, "
                "master_port); name one of them"
            )
        return self

    @property
    def _master(self) -> str | None:
        if self.standalone or (self.master_addr is None and self.master_port is None):
            return None  # torchrun does not look at them with --standalone either
        host = self.master_addr or "127.0.0.1"
        bare = ":" in host and not host.startswith("[")
        return f"{f'[{host}]' if bare else host}:{self.master_port or TORCHRUN_PORT}"

    @property
    def endpoint(self) -> str:
        """HOST:PORT of the rendezvous, in whichever way it was given; NOWHERE if nobody has."""
        return self._master or self.rdzv_endpoint

    @property
    def backend(self) -> str | None:
        """The rendezvous backend that was asked for. torchrun's master_addr and master_port mean a static one."""
        return self.rdzv_backend or (STATIC if self._master else None)
