"""The kernel kills for lack of memory, for real: a cgroup that is too small for what runs in it."""

import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.launching import Launcher
from tests.waiting import until

LIMIT = 300_000_000  # bytes
EATS = """
import time
for number in range(10):
    print("line", number, flush=True)
blocks = []
while True:
    blocks.append(bytearray(b"x") * 10_000_000)
"""


@pytest.fixture
def cgroup(launch: Launcher) -> Iterator[Path]:
    for root, limit in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        directory = Path(root) / launch.directory.name
        try:
            directory.mkdir()
            if (directory / limit).exists():
                (directory / limit).write_text(str(LIMIT))
                break
            directory.rmdir()
        except OSError:
            continue
    else:
        pytest.skip("may not make a cgroup with a limit of its memory")
    yield directory
    until(lambda: removed(directory))


def removed(cgroup: Path) -> bool:
    """Whether it has gone: it does not while a process in it ends."""
    with suppress(OSError):
        cgroup.rmdir()
    return not cgroup.exists()


def test_what_the_kernel_killed_for_memory_is_said_to_be_so(launch: Launcher, cgroup: Path) -> None:
    (launch.directory / "eats.py").write_text(EATS)
    words = [f"--trainer.command={word}" for word in (sys.executable, "eats.py")]
    into = ("sh", "-c", f'echo $$ > "{cgroup}/cgroup.procs"; exec "$@"', "sh")
    run = launch("sft", *words, "--output-dir", "run", "--no-tmux", wrapper=into)
    assert run.exit_code() == 1, run.output
    failure = run.state().failure
    assert failure is not None
    assert failure.text.splitlines()[:3] == [
        "FAILED  trainer: SIGKILL",
        "",
        "  probably out of memory: the kernel's oom_kill count of its cgroup went from 0 to 1",
    ]
    assert failure.cause.splitlines()[-6:] == ["its last lines:", *(f"  line {number}" for number in range(5, 10))]
