"""Starts a W&B run: online, else offline, else not at all. wandb (0.4 s) is imported here, not earlier."""

import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import psutil
from loguru import logger

from launcher.borders.masking import masked
from launcher.config.wandb import WandbConfig
from launcher.logger import hooks_below
from launcher.tracking.wandb_links import sync_command

if TYPE_CHECKING:
    from wandb import Run, Settings

TEARDOWN_TIMEOUT = 5.0
"""Seconds for wandb to notice that its service is gone."""
FLUSH_INTERVAL = 2.0
"""Seconds until `wandb leet` sees a step; wandb's own default is 15."""

Mode = Literal["online", "offline"]


def start_wandb(config: WandbConfig, root: Path, shown: Mapping[str, Any]) -> "Run | None":
    """Start the W&B run of `config`, with `shown` on its page. Its files are below `root` unless `config.dir` is set.

    A failure is only one warning. This takes about `config.init_timeout` at most, and never asks for a login.
    """
    modes: tuple[Mode, ...] = ("offline",) if config.mode == "offline" else ("online", "offline")
    problem: Exception | None = None
    for mode in modes:
        try:
            run = _init(config, mode, root, shown)
        except Exception as error:
            problem = error
            abandon_wandb()  # it would still hold the run's id
            continue
        _announce(run, problem)
        return run
    reason = one_line(problem)
    logger.warning("W&B did not start ({}): its tables are lost, the metrics are in the run's own files", reason)
    return None


def abandon_wandb(patience: float = 0.0) -> None:
    """End wandb's service process; kill it after `patience` seconds. Otherwise wandb waits for it at exit."""
    thread = threading.Thread(target=_tear_down, daemon=True)
    thread.start()
    thread.join(patience)
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if process.name().startswith("wandb-"):  # wandb-core, and wandb-symon below it
                process.kill()
    thread.join(TEARDOWN_TIMEOUT)


def one_line(error: object) -> str:
    """The error in one line: wandb's messages have several."""
    return " ".join(str(error).split())


def _tear_down() -> None:
    import wandb

    with suppress(Exception, SystemExit):  # it complains when its service is gone
        wandb.teardown()


def _announce(run: "Run", problem: Exception | None) -> None:
    command = sync_command([run.settings.sync_dir])
    if problem is not None:
        reason = one_line(problem)
        logger.warning("W&B did not start ({}): logging offline; upload it afterwards with: {}", reason, command)
    elif run.url:
        logger.info("W&B run: {}", run.url)
    else:
        logger.info("W&B run, offline; upload it afterwards with: {}", command)


def _init(config: WandbConfig, mode: Mode, root: Path, shown: Mapping[str, Any]) -> "Run":
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # waits up to 30 s at exit for a server that hangs
    import wandb

    with hooks_below():
        wandb.setup(wandb.Settings(silent=True))  # silent in init() alone would still ask for a login
    return wandb.init(
        entity=config.entity,
        project=config.project,
        name=config.name,
        group=config.group,
        job_type=config.job_type,
        tags=config.tags or None,
        notes=config.notes,
        id=config.id,
        resume="allow" if config.id and mode == "online" else None,
        dir=(config.dir or root).resolve(),  # wandb adds a directory `wandb` to it
        mode=mode,
        config=masked(dict(shown)),
        settings=_settings(config),
    )


def _settings(config: WandbConfig) -> "Settings":
    import wandb

    wanted: dict[str, Any] = {
        "base_url": config.base_url,
        "init_timeout": config.init_timeout,
        "x_service_wait": config.init_timeout,
        "finish_timeout": config.finish_timeout,
        "finish_timeout_raises": True,
        "x_transaction_log_flush_interval": FLUSH_INTERVAL,
    }
    known = wandb.Settings.model_fields  # our oldest supported wandb lacks some of these settings
    return wandb.Settings(**{name: value for name, value in wanted.items() if value is not None and name in known})
