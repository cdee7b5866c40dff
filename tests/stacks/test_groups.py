"""Who stands where, and who apart."""

from dataclasses import replace

import pytest

from launcher.stacks.frames import Frame, Stack
from launcher.stacks.groups import calling_frame, group_stacks, stragglers, telling_frame
from tests.hanging_programs import ALL_REDUCE, COMPUTING, LOADING, STDLIB, TORCHRUN, child, component, rank


def ranks_of(stacks: list[Stack]) -> list[list[int | None]]:
    return [[process.rank for process in group.processes] for group in group_stacks(stacks)]


def test_ranks_at_the_same_place_are_one_group_and_the_largest_comes_first() -> None:
    stacks = [rank(0, LOADING), *(rank(number, ALL_REDUCE) for number in (3, 1, 2))]
    assert ranks_of(stacks) == [[1, 2, 3], [0]]


def test_ranks_come_before_components_and_those_before_children() -> None:
    stacks = [child(9, 0, LOADING), component("trainer", TORCHRUN, has_ranks=True), rank(0, ALL_REDUCE)]
    groups = group_stacks(stacks)
    assert [(group.processes[0].is_child, group.processes[0].rank) for group in groups] == [
        (False, 0),
        (False, None),
        (True, 0),
    ]


def test_the_same_place_is_the_same_with_and_without_the_class_name() -> None:
    nameless = tuple(replace(frame, function=frame.function.rpartition(".")[2]) for frame in ALL_REDUCE)
    assert ranks_of([rank(0, ALL_REDUCE), rank(1, nameless)]) == [[0, 1]]


def test_a_process_whose_stack_could_not_be_taken_is_in_no_group() -> None:
    assert group_stacks([Stack(rank(0, ()).process, trouble="ptrace is not allowed")]) == []


@pytest.mark.parametrize(
    ("frames", "telling"),
    [
        (ALL_REDUCE, "all_reduce"),
        (LOADING, "_BaseDataLoaderIter.__next__"),
        (COMPUTING, "Model.forward"),
        (TORCHRUN, "SimpleElasticAgent._invoke_run"),
        ((Frame("Event.wait", f"{STDLIB}threading.py", 629),), "Event.wait"),
    ],
)
def test_the_telling_frame_is_what_the_users_own_code_has_called(frames: tuple[Frame, ...], telling: str) -> None:
    assert telling_frame(frames).function == telling


def test_code_of_the_users_own_is_neither_installed_nor_pythons() -> None:
    assert calling_frame(ALL_REDUCE) == ALL_REDUCE[2]
    assert calling_frame(TORCHRUN) is None


@pytest.mark.parametrize(
    ("where", "apart"),
    [
        ([ALL_REDUCE, ALL_REDUCE, LOADING], (2,)),
        ([ALL_REDUCE, LOADING, LOADING, LOADING], (1, 2, 3)),  # rank 0 waits for the others, not they for it
        ([COMPUTING, LOADING, LOADING], (0,)),
        ([COMPUTING, LOADING], ()),
        ([ALL_REDUCE, ALL_REDUCE], ()),
        ([ALL_REDUCE], ()),
        ([], ()),
    ],
)
def test_who_stands_apart_is_who_the_others_wait_for(where: list[tuple[Frame, ...]], apart: tuple[int, ...]) -> None:
    stacks = [rank(number, frames) for number, frames in enumerate(where)]
    assert stragglers(group_stacks([*stacks, component("orchestrator", COMPUTING)])) == apart
