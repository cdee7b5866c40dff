"""What real processes cannot be made to do to the supervisor; all else is in tests/e2e."""

from pathlib import Path

from tests.children import run_python

UNKILLABLE = """
import os, signal, sys
from contextlib import suppress
from pathlib import Path
from launcher.supervisor import supervisor
from launcher.supervisor.events import Started
from tests.plans import plan_of, sft

supervisor.sweep = lambda: {}
started = []

def quit_at_once(event):
    if isinstance(event, Started):
        started.append(event.pid)
        os.kill(os.getpid(), signal.SIGQUIT)

plan = plan_of(sft("--trainer.command=sleep", "--trainer.command=1000", "--trainer.cwd=/"), root=Path.cwd())
policy = supervisor.supervise(plan, [quit_at_once])
with suppress(ProcessLookupError):
    os.kill(started[0], signal.SIGKILL)
print(policy.exits, policy.exit_code)
"""


def test_a_process_that_hangs_in_the_kernel_does_not_hold_the_end_up(tmp_path: Path) -> None:
    project = Path(__file__).parents[2]
    done = run_python(UNKILLABLE, tmp_path, PYTHONPATH=str(project))
    assert done.stdout == "{'trainer': -9} 131\n", done.stderr
