"""Messages about real runs, to a server that takes them, refuses them, or never answers."""

import time

import pytest

from tests.launching import Launcher
from tests.notify.webhook import webhook

FAILS = "raise ValueError('on purpose')"


@pytest.mark.parametrize("status", [500, *(pytest.param(each, marks=pytest.mark.slow) for each in (200, 0))])
def test_a_run_fails_as_it_would_without_notifications_whatever_the_server_does(launch: Launcher, status: int) -> None:
    with webhook(status) as server:
        run = launch.sft(FAILS, "--notify", LAUNCH_NOTIFY_WEBHOOK=server.url)
        run.wait_for_output("FAILED  trainer")
        printed = time.monotonic()
        assert run.exit_code() == 1, run.output
        assert time.monotonic() - printed < 15
        [message] = server.came
    assert message["event"] == "failed" and "ValueError: on purpose" in message["text"]
    log = run.run.launcher_log.read_text()
    assert ("was not told of 'failed': it answered 500" in log) == (status == 500)
    assert "sesame" not in log + run.output
