"""Stacks as a person reads them."""

from pathlib import Path

import pytest

from launcher.stacks.frames import Frame, Stack, Thread
from launcher.stacks.text import stacks_text
from tests.hanging_programs import ALL_REDUCE, COMPUTING, LOADING, TORCHRUN, child, component, rank


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "cwd", lambda: Path("/home/otter"))


def headlines(*stacks: Stack) -> list[str]:
    return [line for line in stacks_text(stacks).splitlines() if line and not line.startswith(" ")]


def test_each_group_has_a_headline_and_its_stack_once() -> None:
    text = stacks_text([*(rank(number, ALL_REDUCE) for number in range(7)), rank(7, LOADING)])
    assert (
        text
        == """\
ranks 0-6 wait in all_reduce, called by Trainer.step (train.py:12)
    all_reduce                   torch/distributed/distributed_c10d.py:3252
    _exception_logger.wrapper    torch/distributed/c10d_logger.py:83
    Trainer.step                 train.py:12
    <module>                     train.py:30

rank 7 waits in _BaseDataLoaderIter.__next__, called by <module> (train.py:28)
    Connection.poll                          multiprocessing/connection.py:257
    _MultiProcessingDataLoaderIter._next_data torch/utils/data/dataloader.py:1409
    _BaseDataLoaderIter.__next__             torch/utils/data/dataloader.py:701
    <module>                                 train.py:28

straggler: rank 7
"""
    )


def test_ranks_that_are_not_neighbours_are_listed() -> None:
    found = headlines(*(rank(number, COMPUTING) for number in (0, 1, 2, 5, 7, 8)))
    assert found == ["ranks 0-2, 5, 7 and 8 wait in Model.forward (model.py:5)"]


def test_a_process_that_computes_is_in_its_place_and_does_not_wait() -> None:
    busy = Stack(rank(0, COMPUTING).process, (Thread("MainThread", COMPUTING, waits=False),))
    assert headlines(busy) == ["rank 0 is in Model.forward (model.py:5)"]


def test_components_and_children_say_what_they_are() -> None:
    found = headlines(
        component("orchestrator", COMPUTING),
        component("trainer", TORCHRUN, has_ranks=True),
        child(4242, 0, LOADING),
        child(1, 0, COMPUTING),
        child(2, 1, COMPUTING),
    )
    assert [headline.partition(" wait")[0] for headline in found] == [
        "orchestrator",
        "trainer (torchrun)",
        "2 children of ranks 0 and 1",
        "child 4242 of rank 0",
    ]


def test_torchrun_takes_one_line_unless_everything_is_asked_for() -> None:
    torchrun = [component("trainer", TORCHRUN, has_ranks=True)]
    assert len(stacks_text(torchrun).splitlines()) == 1
    assert "_run_code" in stacks_text(torchrun, every_thread=True)


def test_another_thread_takes_a_line_or_its_whole_stack() -> None:
    saving = Thread("saver", (Frame("write", "/home/otter/save.py", 3), Frame("save", "/home/otter/save.py", 9)))
    stacks = [rank(0, COMPUTING, saving)]
    assert "  thread saver: write (save.py:3)\n" in stacks_text(stacks)
    assert "save.py:9" not in stacks_text(stacks)
    assert "save.py:9" in stacks_text(stacks, every_thread=True)


def test_a_stack_that_could_not_be_taken_says_why() -> None:
    assert headlines(Stack(rank(3, ()).process, trouble="ptrace is not allowed")) == [
        "rank 3 (pid 103): ptrace is not allowed"
    ]
