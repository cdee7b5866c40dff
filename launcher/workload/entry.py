"""What the four entry points have in common: the logger, the request to end, and one line for an expected failure."""

import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn, TypeVar

from launcher.config.workload import Handed
from launcher.errors import UserError
from launcher.logger import get_logger, setup_logger
from launcher.rundir import RunDir

C = TypeVar("C", bound=Handed)


class Stop:
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


def run_dir(config: Handed) -> RunDir:
    return RunDir(config.output_dir, config.attempt)


def run_component(component: str, config: C, main: Callable[[C], int]) -> NoReturn:
    """Call `main` with a logger in place, and exit with what it returns; a UserError is one line and exit code 1."""
    setup_logger(component, run=run_dir(config), level=config.log.level, json_lines=config.log.json_lines)
    try:
        exit_code = main(config)
    except UserError as error:
        get_logger().error("{}", error)
        exit_code = 1
    sys.exit(exit_code)
