"""Faults in the processes of a run: whoever dies, however, nothing is left and the true cause is named.

A rank that hangs in a collective is the watchdog's affair, in test_life.py.
"""

import signal
from dataclasses import dataclass, field
from signal import SIGINT, SIGKILL, SIGTERM

import pytest

from tests.e2e.faulty import Ended, Inject, start_ranks, start_rl, touches
from tests.e2e.faulty import sends as send
from tests.launching import Launcher

GO = touches("go")
INTERRUPTED, TERMINATED = Ended(130, "stopped"), Ended(143, "stopped")


@dataclass(frozen=True)
class Fault:
    name: str
    ended: Ended
    inject: Inject = GO  # what the tests do to the run
    codes: dict[str, str] = field(default_factory=dict)  # what a component does
    options: tuple[str, ...] = ()


def failed(culprit: str, cause: str, **more: float) -> Ended:
    return Ended(1, "failed", culprit, cause, **more)


def signalled(target: str, number: signal.Signals, ended: Ended) -> Fault:
    return Fault(f"{number.name} to {target}", ended, send(target, number))


def does(name: str, component: str, code: str, cause: str, *options: str, **more: float) -> Fault:
    """A component that does something wrong at a word of the test's."""
    code = f"wait_for('go')\n{code}\n"
    return Fault(name, failed(component, cause, **more), codes={component: code}, options=options)


LAUNCH_ITSELF = [
    signalled("guard", SIGKILL, Ended(-9, "failed", "launch", "its guard process was killed")),
    signalled("guard", SIGTERM, TERMINATED),
    signalled("guard", SIGINT, INTERRUPTED),
    signalled("supervisor", SIGKILL, Ended(1, "died")),
    signalled("supervisor", SIGTERM, TERMINATED),
    signalled("supervisor", SIGINT, INTERRUPTED),
]
COMPONENTS = [
    signalled(target, number, failed(target, number.name))
    for target in ("trainer", "orchestrator", "inference")
    for number in (SIGKILL, SIGTERM, SIGINT)
]
MISBEHAVIOUR = [
    does("exits 0 too early", "inference", "sys.exit(0)", "ended (exit code 0) while the run still needed it"),
    does("raises", "orchestrator", "raise ValueError('on purpose')", "ValueError: on purpose"),
    does("fails to import", "trainer", "import no_such_module", "No module named 'no_such_module'"),
    does("leaves a setsid grandchild", "orchestrator", "os.system('setsid sleep 1000 &'); os._exit(3)", "exit code 3"),
    does(
        "forks a daemon",
        "inference",
        """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(15, signal.SIG_IGN)
        time.sleep(1000)
    os._exit(0)
os._exit(4)
""",
        "exit code 4",
    ),
    does("runs as another program", "trainer", "os.execvp('false', ['false'])", "exit code 1"),
    Fault(
        "one fails and another ignores SIGTERM",
        failed("trainer", "exit code 3", within=3.0),
        codes={"trainer": "wait_for('go')\nos._exit(3)", "inference": "signal.signal(15, signal.SIG_IGN)"},
        options=("--grace", "1s"),
    ),
    Fault(
        "ends its work and then hangs",
        failed("trainer", "did not finish within 1s of the others", within=4.0),
        codes={"orchestrator": "wait_for('go')\nsys.exit(0)"},
        options=("--drain-timeout", "1s"),
    ),
    Fault(
        "never becomes ready",
        failed("inference", "was not ready within 1s: http://127.0.0.1:9/ refused the connection", within=4.0),
        options=("--inference.ready", "http://127.0.0.1:9/", "--inference.ready-timeout", "1s"),
    ),
]


@pytest.mark.parametrize("fault", [*LAUNCH_ITSELF, *COMPONENTS, *MISBEHAVIOUR], ids=lambda fault: fault.name)
def test_a_fault_ends_the_run_names_the_culprit_and_leaves_nothing(launch: Launcher, fault: Fault) -> None:
    faulty = start_rl(launch, *fault.options, **fault.codes)
    faulty.wait_until_there()
    fault.inject(faulty)
    faulty.check(fault.ended)
    faulty.check_resume()


def in_rank_1(name: str, code: str, cause: str) -> Fault:
    """Rank 1 is not shown on the console."""
    code = f"wait_for('go')\nif name == 'trainer1':\n  {code}\n"
    return Fault(name, failed("trainer rank 1", cause), codes={"ranks": code})


def slow(fault: Fault) -> object:
    return pytest.param(fault, marks=pytest.mark.slow)


RANKS = [
    in_rank_1("raises", "raise ValueError('on purpose')", "ValueError: on purpose"),
    slow(in_rank_1("segfaults", "import ctypes; ctypes.string_at(0)", "SIGSEGV")),
    slow(in_rank_1("exits at once", "os._exit(3)", "exit code 3")),
    slow(in_rank_1("is killed as if out of memory", "os.kill(os.getpid(), 9)", "SIGKILL")),
    signalled("rank 1", SIGKILL, failed("trainer rank 1", "SIGKILL")),
    slow(signalled("rank 1", SIGTERM, failed("trainer rank 1", "SIGTERM"))),
    slow(signalled("rank 1", SIGINT, failed("trainer rank 1", "SIGINT"))),
    signalled("trainer", SIGKILL, failed("trainer", "SIGKILL")),
    signalled("trainer", SIGTERM, failed("trainer", "torchrun received SIGTERM")),
    slow(signalled("trainer", SIGINT, failed("trainer", "torchrun received SIGINT"))),
    slow(signalled("guard", SIGKILL, Ended(-9, "failed", "launch", "its guard process was killed"))),
    slow(signalled("supervisor", SIGKILL, Ended(1, "died"))),
]


@pytest.mark.parametrize("fault", RANKS, ids=lambda fault: fault.name)
def test_a_fault_below_torchrun_ends_the_run_and_names_the_rank(launch: Launcher, fault: Fault) -> None:
    faulty = start_ranks(launch, fault.codes.get("ranks", ""))
    faulty.wait_until_there()
    fault.inject(faulty)
    faulty.check(fault.ended)
    faulty.check_resume()
