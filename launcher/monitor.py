"""Writes metrics to a file of the run and to Weights & Biases.

    from launcher import setup_monitor

    monitor = setup_monitor()            # once, on every rank; only global rank 0 writes
    monitor.log({"loss/mean": 0.7}, step=1)
    monitor.finish(exit_code=0)

Your own trainer needs no arguments: `launch` passes them in the environment (LAUNCH_COMPONENT, LAUNCH_RUN_DIR,
LAUNCH_ATTEMPT), and the W&B settings in the component's file in `configs/`.
"""

import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from launcher.borders.files import read_bytes
from launcher.config.wandb import WandbConfig, over_environment
from launcher.logger import rank_from_environment, run_from_environment
from launcher.rundir import RunDir
from launcher.tracking.samples import SamplesFiles
from launcher.tracking.sinks import MetricsFile, Number, Sink


class Monitor(Sink):
    """Passes everything on to its sinks. Only rank 0 has sinks."""

    def __init__(self, sinks: Sequence[Sink] = ()) -> None:
        self._sinks = tuple(sinks)

    def log(self, metrics: Mapping[str, Number], step: int) -> None:
        for sink in self._sinks:
            sink.log(metrics, step)

    def log_samples(self, step: int, samples: Sequence[Mapping[str, Any]]) -> None:
        for sink in self._sinks:
            sink.log_samples(step, samples)

    def log_distributions(self, step: int, distributions: Mapping[str, Sequence[Number]]) -> None:
        for sink in self._sinks:
            sink.log_distributions(step, distributions)

    def wants_extras(self, step: int) -> bool:
        return any(sink.wants_extras(step) for sink in self._sinks)

    def rewind(self, step: int) -> None:
        for sink in self._sinks:
            sink.rewind(step)

    def finish(self, exit_code: int = 0) -> None:
        for sink in self._sinks:
            sink.finish(exit_code)


_monitor: Monitor | None = None


def setup_monitor(
    component: str | None = None,
    run: RunDir | None = None,
    wandb: WandbConfig | None = None,
    *,
    config: dict[str, Any] | None = None,
    run_name: str | None = None,
) -> Monitor:
    """Open the run's metrics file and, if `wandb` asks for it, the component's W&B run.

    `config` is shown on the W&B run's page. `run_name` is its name if `wandb` has none. Missing arguments come from
    the environment. Without a run there is no metrics file. A failure of W&B is a warning, never an error.

    Raises:
        RuntimeError: at the second call.
    """
    global _monitor
    if _monitor is not None:
        raise RuntimeError("setup_monitor() was called before; call it exactly once, at the start of the entry point")
    component = component or os.environ.get("LAUNCH_COMPONENT") or "trainer"
    run = run or run_from_environment()
    _monitor = Monitor(tuple(_sinks(component, run, wandb, config or {}, run_name)))
    return _monitor


def get_monitor() -> Monitor:
    """The process's monitor.

    Raises:
        RuntimeError: before `setup_monitor()`.
    """
    if _monitor is None:
        raise RuntimeError("there is no monitor yet; call setup_monitor() at the start of the entry point")
    return _monitor


def _sinks(
    component: str, run: RunDir | None, wandb: WandbConfig | None, config: dict[str, Any], run_name: str | None
) -> Iterator[Sink]:
    if rank_from_environment() not in (None, 0):
        return
    if run is not None:
        yield MetricsFile(run.metrics(component))
        yield SamplesFiles(run.samples(component))
    wandb = wandb or _handed_wandb(component, run)
    if wandb.enabled and (wandb := over_environment(wandb, os.environ)).is_on:
        yield from _wandb_sink(component, run, wandb.model_copy(update={"name": wandb.name or run_name}), config)


def _wandb_sink(component: str, run: RunDir | None, wandb: WandbConfig, config: dict[str, Any]) -> Iterator[Sink]:
    from launcher.tracking.wandb_init import start_wandb
    from launcher.tracking.wandb_sink import WandbRun  # imported only if W&B is used

    started = start_wandb(wandb, run.root if run else Path(), config)
    if started is not None:
        yield WandbRun(component, started, wandb, run.wandb_link(component) if run else None)


def _handed_wandb(component: str, run: RunDir | None) -> WandbConfig:
    """The W&B settings that launch wrote for the component. Off if the component was started by hand."""
    path = run.component_config(component) if run else None
    if path is None or not path.exists():
        return WandbConfig()
    return WandbConfig.model_validate(tomllib.loads(read_bytes(path).decode()).get("wandb", {}))
