"""Servers that start wrongly, die slowly or fall silent, beside clients that may die of it first."""

import os
import re
import signal

import pytest

from launcher.failure.failure import exit_text
from tests.e2e.faulty import Ended, start_rl
from tests.launching import Launcher
from tests.waiting import until

pytestmark = pytest.mark.slow  # many launches: CI runs them, and whoever asks for them

URL = "http://127.0.0.1:{port}"
SERVE = """
import http.server

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()

    def log_message(self, *_):
        pass

server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
"""
PORTS = ("--orchestrator.args={port}", "--inference.args={port}")


def test_a_server_that_answers_404_says_so_when_it_is_not_ready_in_time(launch: Launcher) -> None:
    options = (*PORTS, f"--inference.ready={URL}/healthz", "--inference.ready-timeout=10s")  # it answers by then
    faulty = start_rl(launch, *options, inference=SERVE + "server.serve_forever()")
    faulty.wait_until_there()
    faulty.check(Ended(1, "failed", "inference", "/healthz answered 404 Not Found", within=30))


def test_a_server_that_ends_before_it_was_ready_is_started_once(launch: Launcher) -> None:
    options = (*PORTS, f"--inference.ready={URL}/health", "--inference.restart=on-failure")
    faulty = start_rl(launch, *options, inference="wait_for('go')\nos._exit(3)")
    faulty.wait_until_there()
    faulty.touch("go")
    faulty.check(Ended(1, "failed", "inference", exit_text(3)))
    assert "starting it again" not in faulty.run.output


ASKED_OFTEN = ("--inference.alive-interval=2s", "--inference.alive-misses=2")


def test_a_server_that_falls_silent_after_it_was_ready_is_named(launch: Launcher) -> None:
    options = (*PORTS, f"--inference.ready={URL}/health", *ASKED_OFTEN)
    faulty = start_rl(launch, *options, inference=SERVE + "server.serve_forever()")
    faulty.wait_until_there()
    faulty.run.wait_for_output("inference: ready after")
    faulty.send("inference", signal.SIGSTOP)
    faulty.check(Ended(1, "failed", "inference", "no answer from /health for 4s"))


def test_a_server_that_falls_silent_is_killed_and_started_again_where_that_was_asked_for(launch: Launcher) -> None:
    options = (*PORTS, f"--inference.ready={URL}/health", "--inference.restart=on-failure", "--grace=1s", *ASKED_OFTEN)
    deaf = "signal.signal(15, signal.SIG_IGN)\n"
    faulty = start_rl(launch, *options, inference=deaf + SERVE + "server.serve_forever()")
    faulty.wait_until_there()
    faulty.run.wait_for_output("inference: ready after")
    first = faulty.run.pid_of("inference")
    faulty.send("inference", signal.SIGSTOP)
    faulty.run.wait_for_output("inference: no answer from /health for 4s; starting it again, 2 more times at most")
    until(lambda: faulty.run.output.count("inference: ready after") == 2)
    assert faulty.run.pid_of("inference") != first
    faulty.touch("finish")
    until(faulty.has_ended)
    assert faulty.run.exit_code() == 0, faulty.run.output


ASK = """
import urllib.request
wait_for("go")
urllib.request.urlopen("http://127.0.0.1:" + sys.argv[1] + "/health", timeout=5)
"""
DIE_SLOWLY = """
import threading
threading.Thread(target=server.serve_forever, daemon=True).start()
wait_for("dying")
server.shutdown()
server.server_close()
pathlib.Path("go").touch()
time.sleep(2)
print("RuntimeError: the engine is dead", file=sys.stderr)
os._exit(1)
"""


def test_a_server_whose_port_closes_two_seconds_before_it_ends_is_named_and_not_its_client(launch: Launcher) -> None:
    options = (*PORTS, f"--inference.ready={URL}/health")
    faulty = start_rl(launch, *options, orchestrator=ASK, inference=SERVE + DIE_SLOWLY)
    faulty.wait_until_there()
    faulty.run.wait_for_output("inference: ready after")
    faulty.touch("dying")
    faulty.check(Ended(1, "failed", "inference", "was closed before orchestrator failed"))
    assert "  RuntimeError: the engine is dead\n" in faulty.run.state().failure.text
    first = faulty.run.state().failure.text.splitlines()[0]
    assert first.startswith("FAILED  inference: exit code 1; its port ")
    assert first.endswith(" was closed before orchestrator failed")
    assert "orchestrator" in faulty.run.state().failure.collateral


def test_a_client_of_a_server_that_is_well_is_named_at_once(launch: Launcher) -> None:
    options = (*PORTS, f"--inference.ready={URL}/health")
    faulty = start_rl(launch, *options, orchestrator=ASK + "sys.exit(3)", inference=SERVE + "server.serve_forever()")
    faulty.wait_until_there()
    faulty.run.wait_for_output("inference: ready after")
    faulty.touch("go")
    faulty.check(Ended(1, "failed", "orchestrator", "exit code 3"))
    assert "waiting up to" not in faulty.run.run.launcher_log.read_text()


@pytest.mark.slow
def test_the_reference_orchestrator_gives_a_server_that_comes_back_the_newest_weights(launch: Launcher) -> None:
    options = ("--inference.restart=on-failure", "--inference.alive-interval=2s", "--inference.alive-misses=2")
    run = launch("rl", "--output-dir", "run", "--no-tmux", "--max-steps=60", *options)
    run.wait_for_output("step 5/60")
    os.kill(run.pid_of("inference"), signal.SIGSTOP)
    assert run.exit_code() == 0, run.output
    assert "no answer from /health for 4s; starting it again, 2 more times at most" in run.output
    assert re.search(r"is back, with the weights of step ([5-9]|[1-5]\d)\n", run.output)
    assert "step 60/60" in run.output
