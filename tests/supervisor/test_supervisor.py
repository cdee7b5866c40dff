"""What real processes cannot be made to do to the supervisor; all else is in tests/e2e."""

from pathlib import Path

from tests.children import run_python

UNKILLABLE = """
import os, signal, sys
from contextlib import suppress
from pathlib import Path
from launcher.supervisor import components
from launcher.supervisor.conduct import Conduct
from launcher.supervisor.rules.events import Started
from launcher.supervisor.supervisor import supervise
from tests.plans import plan_of, sft

components.sweep = lambda: {}
started = []

def quit_at_once(event):
    if isinstance(event, Started):
        started.append(event.pid)
        os.kill(os.getpid(), signal.SIGQUIT)

plan = plan_of(sft("--trainer.command=sleep", "--trainer.command=1000", "--trainer.cwd=/"), root=Path.cwd())
policy = supervise(plan, [quit_at_once], Conduct())
with suppress(ProcessLookupError):
    os.kill(started[0], signal.SIGKILL)
print(policy.exits, policy.exit_code)
"""

DEAF = """
import asyncio, signal, sys
from dataclasses import replace
from pathlib import Path
from launcher.failure.verdict import setback
from launcher.plan.spec import ProcessSpec, Role
from launcher.supervisor.rules.events import Exited, Signalled
from launcher.supervisor.conduct import Conduct
from launcher.supervisor.supervisor import _Supervisor
from tests.plans import plan_of, sft

here = Path.cwd()
deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('is deaf'); time.sleep(100)"
server = ProcessSpec("deaf", (sys.executable, "-uc", deaf), Role.SERVES, here, here / "deaf.log", ready="log:is deaf")
plan = plan_of(sft("--trainer.command=false", "--trainer.cwd=/", "--max-restarts=1", "--grace=0.2s"), root=here)
[trainer] = plan.processes
plan = replace(plan, processes=(server, replace(trainer, after=("deaf",))))

def stop_at_the_failure(event):
    if isinstance(event, Exited) and event.component == trainer.name:
        run.post(Signalled(signal.SIGTERM))

conduct = Conduct(next_attempt=lambda policy: plan, setback=lambda failure: setback(failure, None, 0.0))

async def main():
    global run
    run = _Supervisor(plan, [stop_at_the_failure], conduct)
    return await run.run()

policy = asyncio.run(main())
print(policy.exits, policy.state.value)
"""


def test_a_process_that_hangs_in_the_kernel_does_not_hold_the_end_up(tmp_path: Path) -> None:
    project = Path(__file__).parents[2]
    done = run_python(UNKILLABLE, tmp_path, PYTHONPATH=str(project))
    assert done.stdout == "{'trainer': -9} 131\n", done.stderr


def test_a_run_that_is_stopped_as_its_attempt_ends_still_kills_what_ignores_sigterm(tmp_path: Path) -> None:
    done = run_python(DEAF, tmp_path, PYTHONPATH=str(Path(__file__).parents[2]))
    assert done.stdout == "{'trainer': 1, 'deaf': -9} stopped\n", done.stderr
