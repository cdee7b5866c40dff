"""A trainer inside the test process: alone, with its metrics in the run's directory."""

import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from launcher import monitor
from launcher.config.workload import Handed
from launcher.tracking.sinks import MetricsFile
from launcher.workload.entry import run_dir

Run = Callable[[Callable[[Any], int | None], Handed], int | None]


@pytest.fixture
def run_here(monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Calls a component's main function; its exit code comes back."""
    for name in ("RANK", "WORLD_SIZE", "TORCHELASTIC_RESTART_COUNT", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def run(main: Callable[[Any], int | None], config: Handed) -> int | None:
        file = MetricsFile(run_dir(config).metrics("trainer"))
        monkeypatch.setattr(monitor, "_monitor", monitor.Monitor([file]))
        return main(config)

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)
