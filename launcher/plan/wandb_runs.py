"""Which W&B run a component logs to."""

from pathlib import Path
from typing import Any

from launcher.config.run import Config, Kind
from launcher.config.wandb import VARIABLES, WandbConfig, WandbSection
from launcher.errors import UserError
from launcher.plan.spec import ForeignRun, Machine
from launcher.rundir import RunDir

NOT_LOGGED_IN = "not logged in to W&B: logging offline; log in with `wandb login` or set WANDB_API_KEY"


class WandbRuns:
    """The W&B runs of a run's components."""

    def __init__(self, config: Config, machine: Machine, run: RunDir, name: str, notes: list[str]) -> None:
        self.config, self.machine, self.run, self.name, self.notes = config, machine, run, name, notes
        self.foreign: list[ForeignRun] = []  # of programs that do not use our library
        self._runs: dict[str, WandbConfig] = {}  # by component

    @property
    def is_on(self) -> bool:
        return any(wandb.is_on for wandb in self._runs.values())

    def add(self, component: str, settings: WandbSection) -> WandbConfig:
        """The component's W&B run. Without a login `notes` says so. Raises UserError."""
        kind, machine = self.config.kind, self.machine
        general = self.config.wandb.over(machine.wandb)
        identity = f"{machine.run_id}-{component}" if kind == "rl" else machine.run_id
        login = machine.wandb_login
        wandb = wandb_run(kind, component, self.name, general, settings.wandb, run_id=identity, logged_in=login)
        if wandb.is_on and not login and NOT_LOGGED_IN not in self.notes:
            self.notes.append(NOT_LOGGED_IN)
        self._runs[component] = wandb
        return wandb

    def pass_on(self, component: str) -> dict[str, str]:
        """The variables by which a program that does not use our library logs to the component's W&B run, if any."""
        wandb = self._runs.get(component)
        if wandb is None or not wandb.is_on:
            return {}
        self.foreign.append(foreign_run(component, wandb, self.run.root, self.machine.cwd))
        return wandb_variables(wandb, self.run.root)


def wandb_run(
    kind: Kind,
    component: str,
    run_name: str,
    general: WandbConfig,
    own: WandbConfig,
    *,
    run_id: str,
    logged_in: bool,
) -> WandbConfig:
    """The component's W&B settings: its own over the run's general ones, with the W&B run filled in.

    `run_id` is the same for all attempts of the run. Off stays off.

    Raises:
        UserError: the mode is online, but there is no login.
    """
    merged = own.over(general)
    if not merged.is_on:
        return merged
    identity = _rl_identity if kind == "rl" else _sft_identity
    found = identity(component, run_name, general, own) | {"mode": _mode(merged, logged_in)}
    return merged.model_copy(update={"id": run_id} | {name: value for name, value in found.items() if value})


def wandb_variables(wandb: WandbConfig, directory: Path) -> dict[str, str]:
    """W&B's own variables, for a program that does not use our library to log to this run. Never the API key.

    `directory` is the default place for W&B's files.
    """
    values = {name: getattr(wandb, field) for field, name in VARIABLES.items()}
    values["WANDB_DIR"] = wandb.dir or directory
    values["WANDB_TAGS"] = ",".join(wandb.tags)
    values["WANDB_RESUME"] = "allow"  # the next attempt continues the run with the same id
    return {name: str(value) for name, value in values.items() if value}


def foreign_run(component: str, wandb: WandbConfig, directory: Path, cwd: Path) -> ForeignRun:
    """The W&B run that was passed on by `wandb_variables`, and the directory of its files."""
    files = cwd / (wandb.dir or directory) / "wandb"
    return ForeignRun(component, wandb.name or component, wandb.id or "", str(files))


def _sft_identity(component: str, run_name: str, general: WandbConfig, own: WandbConfig) -> dict[str, Any]:
    return {"name": own.name or general.name or run_name, "id": own.id or general.id}


def _rl_identity(component: str, run_name: str, general: WandbConfig, own: WandbConfig) -> dict[str, Any]:
    """Two W&B runs in one group. A name or id for both gets the component's name added."""
    group = general.name or run_name
    return {
        "name": own.name or f"{group}-{component}",
        "id": own.id or (f"{general.id}-{component}" if general.id else None),
        "group": own.group or general.group or group,
        "job_type": own.job_type or general.job_type or component,
    }


def _mode(config: WandbConfig, logged_in: bool) -> str | None:
    if logged_in or config.mode == "offline":
        return config.mode
    if config.mode == "online":
        raise UserError(
            "wandb.mode is online, but nobody is logged in to W&B",
            "log in with `wandb login`, set WANDB_API_KEY, or leave out --wandb.mode to log offline",
        )
    return "offline"
