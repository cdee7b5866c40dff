"""Flight recorders are read, from ranks and from files, whatever has been put in their place."""

import os
import pickle
from pathlib import Path

import pytest

from launcher.stacks.recorders import UNREADABLE, load_plain, read_record
from tests.children import run_python

DUMP = """
import os, sys
import torch, torch.distributed as dist
dist.init_process_group("gloo", rank=0, world_size=1, store=dist.HashStore())
for _ in range(3):
    dist.all_reduce(torch.ones(1))
from torch._C._distributed_c10d import _dump_fr_trace
open(sys.argv[1] if len(sys.argv) > 1 else "rank_0", "wb").write(_dump_fr_trace())
"""


class Evil:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)


def test_a_record_that_torch_has_written_is_read(tmp_path: Path) -> None:
    done = run_python(DUMP, tmp_path, TORCH_FR_BUFFER_SIZE="100")
    assert done.returncode == 0, done.stderr
    record = read_record(tmp_path / "rank_0", 0)
    assert record is not None
    assert record.trouble == ""
    assert record.positions["0"].enqueued == 3
    assert record.positions["0"].calls[3].operation == "all_reduce"


def test_a_pickle_that_would_call_something_is_refused_and_calls_nothing(tmp_path: Path) -> None:
    path = tmp_path / "rank_0"
    path.write_bytes(pickle.dumps({"entries": Evil(f"touch {tmp_path}/called")}))
    record = read_record(path, 0)
    assert record is not None
    assert record.trouble == UNREADABLE
    assert not (tmp_path / "called").exists()


@pytest.mark.parametrize("value", [complex(1, 2), {1, 2}, bytearray(b"x"), Path("x"), len], ids=repr)
def test_a_pickle_gives_plain_data_or_none_at_all(value: object) -> None:
    try:
        assert load_plain(pickle.dumps(value)) == value
        assert isinstance(value, set)  # the only one of them that needs no class
    except ValueError:
        assert not isinstance(value, set)


@pytest.mark.parametrize("content", [b"", b"\x80", b"nonsense", pickle.dumps([1, 2]), pickle.dumps({"entries": 3})])
def test_a_record_that_is_none_is_said_to_be_unreadable(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "rank_0"
    path.write_bytes(content)
    record = read_record(path, 0)
    assert record is None if not content else (record is not None and record.trouble == UNREADABLE)


def test_a_record_with_a_text_that_has_no_end_is_unreadable(tmp_path: Path) -> None:
    """Thirty lists, each of which holds the one before ten times: a hundred bytes, and 10^30 as text."""
    bomb: list[object] = []
    for _ in range(30):
        bomb = [bomb] * 10
    entry = {"is_p2p": False, "process_group": [bomb, ""], "pg_id": 0}
    (tmp_path / "rank_0").write_bytes(pickle.dumps({"entries": [entry]}))
    record = read_record(tmp_path / "rank_0", 0)
    assert record is not None
    assert record.trouble == UNREADABLE


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
def test_a_record_that_another_user_has_written_is_not_read(tmp_path: Path) -> None:
    """To read a pickle, of whatever, can take the memory of the machine."""
    path = tmp_path / "rank_0"
    path.write_bytes(pickle.dumps({"entries": []}))
    os.chown(path, 4711, 4711)
    record = read_record(path, 0)
    assert record is not None
    assert record.trouble == "its flight recorder was written by another user"


def test_a_pipe_a_link_or_a_directory_in_place_of_a_record_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/etc/passwd")
    assert read_record(tmp_path / "link", 0) is None
    assert read_record(tmp_path / "absent", 0) is None
    assert read_record(tmp_path / "pipe", 0) is None
    assert (record := read_record(tmp_path, 0)) is None or record.trouble == UNREADABLE


def test_an_old_record_is_none_where_a_new_one_has_been_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "rank_0"
    path.write_bytes(pickle.dumps({"entries": []}))
    os.utime(path, (1000, 1000))
    assert read_record(path, 0, not_before=2000) is None
    assert read_record(path, 0) is not None
