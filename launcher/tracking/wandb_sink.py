"""One component's run at Weights & Biases. If W&B fails or hangs, training continues and does not wait for it."""

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from loguru import logger

from launcher.config.wandb import WandbConfig
from launcher.tracking.sinks import Number, Sink
from launcher.tracking.wandb_init import abandon_wandb, one_line
from launcher.tracking.wandb_links import MOST, WandbLink, sync_command
from launcher.tracking.wandb_tables import BoundedTable, Row, distribution_records

if TYPE_CHECKING:
    from wandb import Run, Table

MAX_WAITING = 1_000
"""Calls that may wait for W&B; while its server hangs, later ones are dropped."""
SERVICE_GRACE = 5.0
"""Seconds after `finish_timeout` until wandb's service counts as stuck."""

Call = Callable[["Run"], object]


class WandbRun(Sink):
    """Logs the scalars of every step. Logs tables of samples and distributions now and then, and in full at the end.

    A thread calls wandb, because wandb asks its server before it logs a table. Only the first failure is a warning.
    """

    def __init__(self, component: str, run: "Run", config: WandbConfig, link_file: Path | None) -> None:
        """Log to `run`, which has been started. Other processes find its link in `link_file`."""
        self._run, self._config = run, config
        self._samples, self._distributions = BoundedTable(), BoundedTable()
        self._has_failed = self._is_over = False
        self._link_file = link_file
        self._link = _first_link(component, run, link_file)
        self._write_link()
        self._calls: SimpleQueue[Call | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="wandb", daemon=True)
        self._thread.start()

    def log(self, metrics: Mapping[str, Number], step: int) -> None:
        values = {name: value if isinstance(value, int) else float(value) for name, value in metrics.items()}
        self._submit(lambda run: run.log(values, step=step))

    def log_samples(self, step: int, samples: Sequence[Mapping[str, Any]]) -> None:
        if self._config.log_extras.samples and self.wants_extras(step):
            self._log_table("samples", self._samples, self._samples.add(step, samples), step)

    def log_distributions(self, step: int, distributions: Mapping[str, Sequence[Number]]) -> None:
        if self._config.log_extras.distributions and self.wants_extras(step):
            rows = self._distributions.add(step, distribution_records(distributions))
            self._log_table("distributions", self._distributions, rows, step)

    def wants_extras(self, step: int) -> bool:
        extras = self._config.log_extras
        return extras.enabled and (extras.samples or extras.distributions) and step % extras.interval == 0

    def finish(self, exit_code: int) -> None:
        """Log the final tables, upload the rest and close the run. Takes about `finish_timeout` at most."""
        if self._is_over:
            return
        self._is_over = True
        for call in (self._log_final_tables, lambda run: run.finish(exit_code), None):
            self._calls.put(call)
        self._thread.join(self._config.finish_timeout + SERVICE_GRACE)
        if self._thread.is_alive():
            self._warn_once("no answer at the end")
        if self._has_failed:
            abandon_wandb(patience=SERVICE_GRACE)
        elif self._run.url:
            self._link = self._link.uploaded()
            self._write_link()

    # --- the thread that talks to wandb ---

    def _submit(self, call: Call) -> None:
        if self._is_over:
            return
        if self._calls.qsize() < MAX_WAITING:
            self._calls.put(call)
        else:
            self._warn_once("no answer for a long time")

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                call(self._run)
            except Exception as error:
                self._warn_once(error)

    def _warn_once(self, problem: Exception | str) -> None:
        if not self._has_failed:
            command = sync_command([self._link.directory])
            reason = one_line(problem)
            logger.warning("W&B has failed ({}); it may miss some of this run, upload it with: {}", reason, command)
        self._has_failed = True

    # --- tables ---

    def _log_table(self, key: str, table: BoundedTable, rows: list[Row], step: int) -> None:
        if rows:
            self._submit(lambda run: run.log({key: _wandb_table(table, rows)}, step=step))

    def _log_final_tables(self, run: "Run") -> None:
        tables = {"final-samples": self._samples, "final-distributions": self._distributions}
        filled = {key: _wandb_table(table, table.rows) for key, table in tables.items() if table.rows}
        if filled:
            run.log(filled)

    # --- the link ---

    def _write_link(self) -> None:
        try:
            if self._link_file is not None:
                self._link.write(self._link_file)
        except OSError as error:
            logger.warning("cannot write the link to the W&B run: {}", error)


def _first_link(component: str, run: "Run", link_file: Path | None) -> WandbLink:
    before = WandbLink.read(link_file) if link_file else None
    directory = str(Path(run.settings.sync_dir).absolute())
    return WandbLink(
        component=component,
        name=run.name or run.id,
        id=run.id,
        url=run.url or (before.url if before else None),
        directory=directory,
        unsynced=(*(before.unsynced if before else ()), directory)[-MOST:],
    )


def _wandb_table(table: BoundedTable, rows: list[Row]) -> "Table":
    import wandb

    return wandb.Table(columns=[*table.columns], data=rows, allow_mixed_types=True)
