"""launcher.log's sentences, and what is worth a warning."""

import signal

import pytest

from launcher.supervisor.rules.events import Event, Exited, RankExited
from launcher.view.console.event_log import describe


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (RankExited("trainer", 1, 0), ("INFO", "trainer: rank 1 ended, exit code 0")),
        (RankExited("trainer", 1, 3), ("WARNING", "trainer: rank 1 ended, exit code 3")),
        (RankExited("trainer", 1, -11), ("WARNING", "trainer: rank 1 ended, SIGSEGV")),
        (RankExited("trainer", 1, -15, ended_by="launch"), ("INFO", "trainer: rank 1 ended by launch (SIGTERM)")),
        (RankExited("trainer", 1, None, ended_by="torchrun"), ("INFO", "trainer: rank 1 ended by torchrun")),
        (Exited("trainer", 0), ("INFO", "trainer: ended, exit code 0")),
        (Exited("trainer", 1), ("WARNING", "trainer: ended, exit code 1")),
        (Exited("trainer", -signal.SIGKILL, ended_by="launch"), ("INFO", "trainer: ended by launch (SIGKILL)")),
    ],
)
def test_an_ending_is_a_warning_unless_launch_or_torchrun_made_it_so(event: Event, line: tuple[str, str]) -> None:
    assert describe(event) == line
