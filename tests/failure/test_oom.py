"""What the kernel tells of memory that ran out."""

import os
from pathlib import Path

import pytest

from launcher.failure.oom import KernelLog, MemoryGroup, machine_oom_kills


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("memory.events", "oom 4\noom_kill 3\noom_group_kill 9\n"),
        ("memory.oom_control", "under_oom 0\noom_kill 3\n"),
    ],
)
def test_a_cgroup_of_either_version_counts_what_was_killed(tmp_path: Path, file: str, text: str) -> None:
    (tmp_path / file).write_text(text)
    assert MemoryGroup(tmp_path).oom_kills() == 3


def test_without_a_cgroup_nothing_is_known(tmp_path: Path) -> None:
    assert [MemoryGroup(None).oom_kills(), MemoryGroup(None).limit(), MemoryGroup(tmp_path).oom_kills()] == [None] * 3
    assert "of this machine" in MemoryGroup(None).allowed()


def test_the_lowest_limit_of_a_cgroup_and_its_parents_counts(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    for directory, limit in ((tmp_path, "3000000000"), (tmp_path / "a", "2000000000"), (inner, "max")):
        (directory / "cgroup.procs").touch()
        (directory / "memory.max").write_text(limit + "\n")
    assert MemoryGroup(inner).limit() == 2000000000
    assert MemoryGroup(inner).allowed() == "the 2.0 GB that its cgroup may have"


def test_the_cgroup_of_a_process_is_found_where_the_machine_has_any() -> None:
    group = MemoryGroup.of(os.getpid())
    if group.directory is None:
        pytest.skip("no memory cgroups here")
    assert group.oom_kills() is not None


def test_a_process_that_is_gone_has_no_cgroup() -> None:
    assert MemoryGroup.of(2**22 + 1) == MemoryGroup(None)


def test_the_machines_count_is_the_kernels() -> None:
    count = machine_oom_kills()
    assert count is None or f"oom_kill {count}\n" in Path("/proc/vmstat").read_text()


def test_of_the_kernels_log_only_what_is_new_is_read() -> None:
    log = KernelLog()
    try:
        Path("/dev/kmsg").write_text(f"launch test {os.getpid()}: Killed process 1 (x)\n")
    except OSError:
        pytest.skip("the kernel's log may not be written here")
    assert log.lines(f"test {os.getpid()}: Killed") == [f"launch test {os.getpid()}: Killed process 1 (x)"]
    assert KernelLog().lines(f"test {os.getpid()}: Killed") == []


@pytest.mark.parametrize("content", [b"no semicolon", b"6,1,2,-;other", b"\xff\x00;", b";"])
def test_a_kernels_log_of_any_form_is_survived(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "kmsg"
    path.touch()
    log = KernelLog(path)
    path.write_bytes(content)
    assert log.lines("text") == []
    assert KernelLog(tmp_path / "missing").lines("text") == []
