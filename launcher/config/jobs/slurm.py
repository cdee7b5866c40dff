"""`[slurm]`: the request to Slurm. The numbers of nodes are fields of the trainer and of inference."""

import re
from math import ceil
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from launcher.borders.values import MOST_COUNT, whole_number
from launcher.config.base import Duration, SmallInt, Switch

LEAD_MARGIN = 30.0  # seconds after the grace, for the end of the run and the requeue
MOST_GPUS = 1024  # on a node
LONGEST_LEAD = 65_000  # seconds; Slurm takes 65535
_TIME = re.compile(r"(?:(\d{1,9})-)?(\d{1,9})(?::(\d{1,9}))?(?::(\d{1,9}))?")
_WORD = re.compile(r"""[^\s"'\\#`$]+""")
_OWN = {
    "nodes": "--trainer.torchrun.nnodes",
    "N": "--trainer.torchrun.nnodes",
    "ntasks": None,
    "n": None,
    "ntasks-per-node": None,
    "job-name": "--name",
    "J": "--name",
    "comment": None,
    "signal": "--slurm.signal-lead",
    "requeue": "--slurm.requeue",
    "no-requeue": "--slurm.requeue",
    "output": None,
    "o": None,
    "error": None,
    "e": None,
    "array": None,
    "a": None,
}


def _word(text: str) -> str:
    if not _WORD.fullmatch(text):
        raise ValueError("must be one word, without quotes, '#', '$' and backslashes")
    return text


Word = Annotated[str, AfterValidator(_word)]


def seconds_of(time: str) -> float | None:
    """Seconds of a time limit in Slurm's format; None for UNLIMITED. Raises ValueError."""
    if time.upper() in ("UNLIMITED", "INFINITE"):
        return None
    found = _TIME.fullmatch(time)
    if not found:
        raise ValueError("not a Slurm time; write minutes, 4:00:00 (hours), 1-12 (days-hours) or 1-12:30:00")
    days, *parts = found.groups()
    numbers = [int(part) for part in parts if part is not None]
    units = [3600, 60, 1] if days is not None or len(numbers) == 3 else [60, 1]
    return int(days or 0) * 86400.0 + sum(n * unit for n, unit in zip(numbers, units, strict=False))


def _time(text: str) -> str:
    seconds_of(text)
    return text


def _gpus(text: str) -> str:
    number = text.rsplit(":", 1)[-1]
    if number.isdecimal() and whole_number(number, MOST_GPUS) is None:
        raise ValueError(f"must be at most {MOST_GPUS} on a node, or TYPE:NUMBER")
    return _word(text)


def _directive(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("must be one line, such as --mem=64G")
    text = text.strip()
    text = text if text.startswith("-") else f"--{text}"
    name = re.split(r"[=\s]", text.lstrip("-"), maxsplit=1)[0]
    name = name if text.startswith("--") else name[:1]
    if name in _OWN:
        owner = _OWN[name]
        raise ValueError(f"launch sets {text.split('=')[0]} itself" + (f"; use {owner}" if owner else ""))
    return text


class SlurmConfig(Switch):
    """Whether and how the run is submitted to Slurm."""

    enabled: bool = Field(False, description="submit the run to Slurm instead of starting it here")
    nodes: SmallInt | None = Field(
        None, ge=1, description="number of nodes; trainer.torchrun.nnodes is this minus inference.nodes"
    )
    spare_nodes: SmallInt | None = Field(None, ge=0, description="further nodes to wait as spares; sets spare_nodes")
    partition: Word | None = Field(None, description="partition to submit to; default: the cluster's")
    account: Word | None = Field(None, description="account to charge")
    qos: Word | None = Field(None, description="quality of service")
    time: Annotated[str, BeforeValidator(str, json_schema_input_type=str | int), AfterValidator(_time)] | None = Field(
        None, description="time limit in Slurm's format: minutes, 4:00:00 or 1-12 (days-hours)"
    )
    gpus_per_node: (
        Annotated[str, BeforeValidator(str, json_schema_input_type=str | int), AfterValidator(_gpus)] | None
    ) = Field(None, description="GPUs on each node, a number or TYPE:NUMBER")
    constraint: Word | None = Field(None, description="features that the nodes must have")
    exclusive: bool = Field(False, description="do not share the nodes with other jobs")
    extra: tuple[Annotated[str, AfterValidator(_directive)], ...] = Field(
        (), description="any other sbatch option, such as --mem=64G"
    )
    setup: tuple[str, ...] = Field((), description="shell line to run first, such as: module load cuda")
    signal_lead: Duration | None = Field(
        None,
        gt=0,
        le=LONGEST_LEAD,
        description="how long before the time limit the run is stopped; default: grace + 30s",
    )
    requeue: bool = Field(False, description="requeue the job when the time limit has stopped it")

    def check_lead(self, grace: float) -> None:
        """Raises ValueError if Slurm would warn the run of its time limit before the run has begun."""
        if not self.enabled:
            return
        if self.lead(grace) > LONGEST_LEAD:
            raise ValueError(
                f"Slurm warns a run at most {LONGEST_LEAD}s before its time limit, but grace + 30s is "
                f"{self.lead(grace)}s; set a shorter grace, or slurm.signal_lead"
            )
        limit = seconds_of(self.time) if self.time is not None else None
        if limit is None or self.lead(grace) < limit:
            return
        if self.signal_lead is not None:
            raise ValueError(f"slurm.signal_lead must be shorter than the time limit of {limit:.0f}s")
        raise ValueError(
            f"the time limit is {limit:.0f}s, but the run is stopped {self.lead(grace)}s before it; "
            "set a longer slurm.time, or a shorter grace or slurm.signal_lead"
        )

    def lead(self, grace: float) -> int:
        """How many whole seconds before the time limit Slurm warns the run."""
        return ceil(self.signal_lead if self.signal_lead is not None else grace + LEAD_MARGIN)

    @property
    def gpus(self) -> int:
        """GPUs on each node; 0 if gpus_per_node is not set."""
        number = (self.gpus_per_node or "").rsplit(":", 1)[-1]
        return whole_number(number, MOST_GPUS) or 0


def hand_over_nodes(values: Any) -> Any:
    """Give `slurm.nodes` and `slurm.spare_nodes` to the fields that own these numbers.

    Raises ValueError if they differ.
    """
    values = _hand_over_spares(values)
    slurm = values.get("slurm") if isinstance(values, dict) else None
    if not isinstance(slurm, dict) or slurm.get("nodes") is None:
        return values
    try:
        nodes = int(slurm["nodes"]) - int((values.get("inference") or {}).get("nodes") or 0)
    except (TypeError, ValueError, OverflowError, AttributeError):
        return values
    if nodes > MOST_COUNT:
        return values  # the field's own check refuses it
    trainer = values.get("trainer") or {}
    torchrun = (trainer.get("torchrun") or {}) if isinstance(trainer, dict) else None
    if not isinstance(torchrun, dict):
        return values  # the fields' own checks refuse it
    if str(torchrun.get("nnodes", nodes)) != str(nodes):
        raise ValueError(
            f"slurm.nodes leaves {nodes} to the trainer, but trainer.torchrun.nnodes is {torchrun['nnodes']}"
        )
    if nodes < 1:
        raise ValueError(f"slurm.nodes leaves {nodes} nodes to the trainer")
    rest = {name: value for name, value in slurm.items() if name != "nodes"}
    return values | {"slurm": rest, "trainer": trainer | {"torchrun": torchrun | {"nnodes": str(nodes)}}}


def _hand_over_spares(values: Any) -> Any:
    slurm = values.get("slurm") if isinstance(values, dict) else None
    if not isinstance(slurm, dict) or slurm.get("spare_nodes") is None:
        return values
    spares = whole_number(str(slurm["spare_nodes"]), MOST_COUNT)
    if spares is None:
        return values  # the field's own check refuses it
    if str(values.get("spare_nodes", spares)) != str(spares):
        raise ValueError(f"slurm.spare_nodes is {spares}, but spare_nodes is {values['spare_nodes']}")
    rest = {name: value for name, value in slurm.items() if name != "spare_nodes"}
    return values | {"slurm": rest, "spare_nodes": spares}
