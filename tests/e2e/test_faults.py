"""Faults in the processes of a run: whoever dies, however, nothing is left and the true cause is named.

A rank that hangs in a collective is the watchdog's affair, in test_life.py.
"""

import signal
from dataclasses import dataclass, field
from signal import SIGABRT, SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM, SIGUSR1

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


def failed(culprit: str, cause: str, words: str = "", **more: float) -> Ended:
    return Ended(1, "failed", culprit, cause, words or first_words(culprit, cause), **more)


def first_words(culprit: str, cause: str) -> str:
    """A pattern of the first of its words that the block shows, unless it is an exception: a line of its log."""
    if cause == "SIGKILL":
        return "killed by SIGKILL, which launch did not send; Linux does not record who did"
    return "KeyboardInterrupt" if cause == "SIGINT" else rf"{culprit.replace(' rank ', '')} line \d+"


def signalled(target: str, number: signal.Signals, ended: Ended) -> Fault:
    return Fault(f"{number.name} to {target}", ended, send(target, number))


def does(name: str, component: str, code: str, cause: str, *options: str, **more: float) -> Fault:
    """A component that does something wrong at a word of the test's."""
    code = f"wait_for('go')\n{code}\n"
    return Fault(name, failed(component, cause, **more), codes={component: code}, options=options)


def raises(name: str, code: str, words: str) -> Fault:
    """An orchestrator whose exception, in the words of a pattern, is the first thing that the block shows."""
    return Fault(name, failed("orchestrator", "", words), codes={"orchestrator": f"wait_for('go')\n{code}\n"})


def slow(fault: Fault) -> object:
    return pytest.param(fault, marks=pytest.mark.slow)


# torchrun's own exception, or, where it leaves without one, the last lines of its ranks
TORCHRUNS = r"\[trainer\d\]:.*|torch\.distributed\.\S+\.SignalException: Process \d+ got signal: \d+"
GUARD_KILLED = Ended(-9, "failed", "launch", "its guard process was killed", "it left no words of its own")
LAUNCH_ITSELF = [
    signalled("guard", SIGKILL, GUARD_KILLED),
    slow(signalled("guard", SIGTERM, TERMINATED)),
    slow(signalled("guard", SIGINT, INTERRUPTED)),
    signalled("supervisor", SIGKILL, Ended(1, "died")),
    slow(signalled("supervisor", SIGTERM, TERMINATED)),
    slow(signalled("supervisor", SIGINT, INTERRUPTED)),
]
NAMES = ("trainer", "orchestrator", "inference")
COMPONENTS = [
    *(signalled(target, SIGKILL, failed(target, "SIGKILL")) for target in NAMES),
    *(slow(signalled(each, number, failed(each, number.name))) for each in NAMES for number in (SIGTERM, SIGINT)),
]
MISBEHAVIOUR = [
    does("exits 0 too early", "inference", "sys.exit(0)", "ended (exit code 0) while the run still needed it"),
    slow(raises("raises", "raise ValueError('on purpose')", "ValueError: on purpose")),
    raises("fails to import", "import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
    does("leaves a setsid grandchild", "orchestrator", "os.system('setsid sleep 1000 &'); os._exit(3)", "exit code 3"),
    does(
        "forks a daemon",
        "inference",
        """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(15, signal.SIG_IGN)
        signal.pause()
    os._exit(0)
os._exit(4)
""",
        "exit code 4",
    ),
    slow(does("runs as another program", "trainer", "os.execvp('false', ['false'])", "exit code 1")),
    Fault(
        "one fails and another ignores SIGTERM",
        failed("trainer", "exit code 3"),
        codes={"trainer": "wait_for('go')\nos._exit(3)", "inference": "signal.signal(15, signal.SIG_IGN)"},
        options=("--grace", "1s"),
    ),
    Fault(
        "ends its work and then hangs",
        failed("trainer", "did not finish within 1s of the others"),
        codes={"orchestrator": "wait_for('go')\nsys.exit(0)"},
        options=("--drain-timeout", "1s"),
    ),
    Fault(
        "never becomes ready",
        failed("inference", "was not ready within 10s: http://127.0.0.1:9/ refused the connection", within=30.0),
        options=("--inference.ready", "http://127.0.0.1:9/", "--inference.ready-timeout", "10s"),
    ),
]

EXCEPTIONS = [
    raises("raises a group", "raise ExceptionGroup('two', [ValueError('a'), KeyError('b')])", "ExceptionGroup: two .*"),
    slow(
        raises(
            "loses its child", "import subprocess; subprocess.run(['false'], check=True)", ".*CalledProcessError: .*"
        )
    ),
    slow(raises("raises without a message", "raise RuntimeError", "RuntimeError")),
    slow(raises("asserts what does not hold", "assert 1 == 2, 'unequal'", "AssertionError: unequal")),
    slow(raises("recurses for ever", "f = lambda: f()\nf()", "RecursionError: maximum recursion depth exceeded.*")),
    slow(raises("has no memory for Python", "raise MemoryError", "MemoryError")),
    slow(raises("misreads a file", "b'\\xff'.decode()", "UnicodeDecodeError: .*")),
    slow(raises("misses a file", "open('no-such-file')", "FileNotFoundError: .*'no-such-file'")),
    slow(raises("misses a key", "{}['loss']", "KeyError: 'loss'")),
    slow(raises("compiles nonsense", "exec('1 +')", "SyntaxError: invalid syntax.*")),
    slow(raises("raises from another", "raise KeyError('a') from ValueError('b')", "KeyError: 'a'")),
]
EXITS = [
    slow(does("exits with a message", "trainer", "sys.exit('no data')", "exit code 1")),
    slow(does("exits with 7", "trainer", "sys.exit(7)", "exit code 7")),
    slow(does("exits with 255", "inference", "os._exit(255)", "exit code 255")),
    slow(
        does(
            "ends in a thread",
            "orchestrator",
            "import threading\nthreading.Thread(target=os._exit, args=(9,)).start()\ntime.sleep(9)",
            "exit code 9",
        )
    ),
]
SIGNALS = [
    slow(signalled(target, number, failed(target, number.name)))
    for target in ("trainer", "orchestrator", "inference")
    for number in (SIGHUP, SIGQUIT, SIGABRT, SIGUSR1)
]
FAULTS = [*LAUNCH_ITSELF, *COMPONENTS, *MISBEHAVIOUR, *EXCEPTIONS, *EXITS, *SIGNALS]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_ends_the_run_names_the_culprit_and_leaves_nothing(launch: Launcher, fault: Fault) -> None:
    faulty = start_rl(launch, *fault.options, **fault.codes)
    faulty.wait_until_there()
    fault.inject(faulty)
    faulty.check(fault.ended)
    faulty.check_resume()


def in_rank_1(name: str, code: str, cause: str, words: str = "") -> Fault:
    """Rank 1 is not shown on the console."""
    code = f"wait_for('go')\nif name == 'trainer1':\n  {code}\n"
    return Fault(name, failed("trainer rank 1", cause, words), codes={"ranks": code})


RANKS = [
    slow(in_rank_1("raises", "raise ValueError('on purpose')", "", "ValueError: on purpose")),
    slow(in_rank_1("segfaults", "import ctypes; ctypes.string_at(0)", "SIGSEGV")),
    slow(in_rank_1("exits at once", "os._exit(3)", "exit code 3")),
    slow(in_rank_1("is killed as if out of memory", "os.kill(os.getpid(), 9)", "SIGKILL")),
    signalled("rank 1", SIGKILL, failed("trainer rank 1", "SIGKILL")),
    slow(signalled("rank 1", SIGTERM, failed("trainer rank 1", "SIGTERM"))),
    slow(signalled("rank 1", SIGINT, failed("trainer rank 1", "SIGINT"))),
    slow(signalled("trainer", SIGKILL, failed("trainer", "SIGKILL"))),
    slow(signalled("trainer", SIGTERM, failed("trainer", "torchrun received SIGTERM", TORCHRUNS))),
    slow(signalled("trainer", SIGINT, failed("trainer", "torchrun received SIGINT", TORCHRUNS))),
    slow(signalled("guard", SIGKILL, GUARD_KILLED)),
    slow(signalled("supervisor", SIGKILL, Ended(1, "died"))),
]


@pytest.mark.parametrize("fault", RANKS, ids=lambda fault: fault.name)
def test_a_fault_below_torchrun_ends_the_run_and_names_the_rank(launch: Launcher, fault: Fault) -> None:
    faulty = start_ranks(launch, fault.codes.get("ranks", ""))
    faulty.wait_until_there()
    fault.inject(faulty)
    faulty.check(fault.ended)
    faulty.check_resume()
