"""Which rank keeps the others waiting, from what the flight recorders of all ranks say."""

import time
from collections.abc import Iterable
from typing import Any

import pytest

from launcher.stacks.collectives import (
    DEFAULT,
    Call,
    Position,
    Recording,
    collective_lines,
    find,
    ranks_text,
    recording_of,
)

SINCE = 1_795_000_000.0
CLOCK = time.strftime("%H:%M:%S", time.localtime(SINCE))
NOW = SINCE + 60


def at(enqueued: int, completed: int, operation: str = "all_reduce", description: str = DEFAULT) -> Position:
    """A rank that has come to this collective; it came to each one a second after the one before."""
    calls = {number: Call(operation, SINCE - enqueued + number) for number in range(1, enqueued + 1)}
    return Position(enqueued, completed, calls, description)


def ranks(*positions: Position) -> list[Recording]:
    return [Recording(rank, {"0": position}) for rank, position in enumerate(positions)]


def lines(recordings: Iterable[Recording], now: float = NOW) -> list[str]:
    return collective_lines(list(recordings), now)


def test_the_rank_that_never_came_is_named_with_the_collective_and_who_waits_since_when() -> None:
    assert lines(ranks(at(4, 3), at(3, 3), at(4, 3), at(4, 3))) == [
        "rank 1 never enqueued all_reduce 4 of the default group; ranks 0, 2 and 3 wait in it since " + CLOCK
    ]


def test_a_rank_that_may_be_on_its_way_is_not_said_to_never_come() -> None:
    assert lines(ranks(at(4, 3), at(3, 3)), SINCE + 1) == [
        f"rank 1 has not enqueued all_reduce 4 of the default group; rank 0 waits in it since {CLOCK}"
    ]


def test_a_rank_that_has_enqueued_nothing_at_all_is_missing_from_the_first_collective() -> None:
    silent = Recording(1)
    assert find([*ranks(at(1, 0)), silent])[0].culprits == (1,)


def test_the_time_is_that_of_the_collective_that_is_waited_in_and_not_of_later_ones() -> None:
    [finding] = find(ranks(at(7, 3), at(3, 3)))
    assert (finding.number, finding.since) == (4, SINCE - 3)


def test_ranks_at_the_same_number_of_another_collective_are_told_apart() -> None:
    [line] = lines(ranks(at(4, 3), at(4, 3, "broadcast"), at(4, 3)))
    assert line.startswith(
        "rank 1 enqueued broadcast in place of all_reduce 4 of the default group; ranks 0 and 2 wait"
    )


def test_nothing_is_said_where_all_that_was_enqueued_has_completed() -> None:
    assert lines(ranks(at(4, 4), at(4, 4))) == []
    assert lines(ranks(at(4, 4), at(3, 3))) == []  # a broadcast has completed for the one that sends


def test_where_all_have_come_and_none_is_through_no_rank_is_blamed() -> None:
    recordings = ranks(at(4, 3), at(4, 3))
    assert find(recordings)[0].culprits == ()
    assert lines(recordings)[0].startswith(f"ranks 0 and 1 wait in all_reduce 4 of the default group since {CLOCK}; ")


def test_a_rank_outside_a_group_is_not_missing_from_it() -> None:
    pair = at(2, 1, description="pair")
    recordings = [Recording(0, {"0": at(4, 4), "1": pair}), Recording(1, {"0": at(4, 4)})]
    assert find(recordings)[0].culprits == ()


def test_a_rank_that_torch_lists_in_a_group_is_missing_from_it() -> None:
    waiting = Recording(0, {"1": at(1, 0, description="pair")}, {"1": (0, 2)})
    [line] = lines([waiting, Recording(1), Recording(2)])
    assert line.startswith("rank 2 never enqueued all_reduce 1 of group 1 (pair); rank 0 waits in it")


def test_the_longest_wait_comes_first() -> None:
    old = Position(2, 1, {2: Call("gather", SINCE - 500)})
    recordings = [Recording(0, {"0": at(9, 8), "1": old}), Recording(1, {"0": at(8, 8), "1": at(1, 1)})]
    assert [finding.operation for finding in find(recordings)] == ["gather", "all_reduce"]


def test_what_cannot_be_read_is_said_and_not_compared() -> None:
    unread = [Recording(2, trouble="it does not answer"), Recording(3, trouble="it does not answer")]
    found = lines([*ranks(at(4, 4), at(4, 4)), *unread])
    assert found == ["collectives of ranks 2 and 3: unknown, it does not answer"]


@pytest.mark.parametrize(
    ("which", "text"),
    [([1], "rank 1"), ([2, 0], "ranks 0 and 2"), ([0, 1, 2, 3, 5, 7], "ranks 0-3, 5 and 7"), ([0, 1], "ranks 0 and 1")],
)
def test_ranks_are_listed_as_one_says_them(which: list[int], text: str) -> None:
    assert ranks_text(which) == text


# --- from torch -------------------------------------------------------------------------------------------------------

ENTRY: dict[str, Any] = {
    "pg_id": 0,
    "process_group": ["0", "default_pg"],
    "collective_seq_id": 5,
    "profiling_name": "gloo:all_reduce",
    "time_created_ns": 1795683509103424154,
    "is_p2p": False,
}
STATUS = {"last_completed_collective": "4", "last_enqueued_collective": "5", "last_started_collective": "-1"}


def test_a_dump_of_torch_is_read() -> None:
    dump = {"version": "2.10", "entries": [ENTRY, ENTRY | {"is_p2p": True}], "pg_status": {"0": STATUS}}
    position = recording_of(2, dump).positions["0"]
    assert (position.enqueued, position.completed, position.description) == (5, 4, DEFAULT)
    assert position.calls == {5: Call("all_reduce", ENTRY["time_created_ns"] / 1e9)}


def test_members_are_those_that_torch_lists_and_gloos_nameless_list_is_none() -> None:
    config = {"": {"ranks": "[0, 1]"}, "1": {"ranks": "[0, 2]"}}
    assert recording_of(0, {"entries": [], "pg_config": config}).members == {"1": (0, 2)}


@pytest.mark.parametrize(
    "dump",
    [
        [],
        None,
        3,
        {"entries": [{}]},
        {"entries": 5},
        {"entries": [ENTRY | {"process_group": 7}]},
        {"entries": [ENTRY | {"time_created_ns": float("inf")}]},
        {"entries": [ENTRY], "pg_status": {"0": []}},
        {"entries": [], "pg_config": {"1": {"ranks": "nonsense"}}},
    ],
)
def test_what_is_no_dump_is_a_value_error_and_nothing_else(dump: object) -> None:
    with pytest.raises(ValueError):
        recording_of(0, dump)


def test_an_operations_name_cannot_steer_a_terminal() -> None:
    name = ENTRY | {"profiling_name": "gloo:\x1b[2Jall_reduce"}
    assert recording_of(0, {"entries": [name]}).positions["0"].calls[5].operation == "all_reduce"
