"""What the four entry points have in common: logger, monitor, the request to end, one line for an expected failure."""

import atexit
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn, TypeVar

from launcher.config.wandb import WandbSection
from launcher.config.workload import Handed
from launcher.errors import UserError
from launcher.logger import get_logger, setup_logger
from launcher.monitor import get_monitor, setup_monitor
from launcher.rundir import RunDir

C = TypeVar("C", bound=Handed)


class StopRequest:
    """Whether SIGTERM or SIGINT has asked this process to end; a loop looks at it between its steps."""

    def __init__(self) -> None:
        self.signal = 0
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    @property
    def requested(self) -> bool:
        return self.signal != 0

    @property
    def exit_code(self) -> int:
        """What a process that a signal ended exits with; SIGTERM's where another process got the signal."""
        return 128 + (self.signal or signal.SIGTERM)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import large libraries in here: looking for garbage among their objects takes a third of the time.

    It would again when the process exits, so these objects are not looked at any more.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def run_dir(config: Handed) -> RunDir:
    return RunDir(config.output_dir, config.attempt, config.node)


def forget_metrics(run: RunDir, step: int) -> None:
    """Drop what an earlier attempt has logged of the steps after `step`; without any step, of the start as well."""
    if run.attempt > 1:
        get_monitor().rewind(step or -1)


def run_component(component: str, config: C, main: Callable[[C], int | None]) -> NoReturn:
    """Call `main` with logger and monitor in place, and exit with what it returns.

    A UserError is one line in the log and exit code 1.
    """
    run = run_dir(config)
    setup_logger(component, run=run, level=config.log.level, json_lines=config.log.json_lines)
    monitor = None
    if isinstance(config, WandbSection):
        handed = config.model_dump(mode="json", exclude={"wandb"})
        monitor = setup_monitor(component, run, config.wandb, config=handed, run_name=config.run_name)
    exit_code = 1
    try:
        exit_code = main(config) or 0
    except UserError as error:
        get_logger().error("{}", error)
    finally:
        if monitor:
            monitor.finish(exit_code)
    leave(exit_code)


def leave(exit_code: int) -> NoReturn:
    """End the process as the interpreter does, but without taking it apart.

    DistributedDataParallel keeps the process group, and with it gloo's threads, beyond destroy_process_group(). One of
    them that lets go of a tensor while the interpreter is taken apart aborts the process, after all its work is done.
    """
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)
