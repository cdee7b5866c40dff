"""Which ranks the others wait for, by when each has enqueued its collectives."""

import random

from launcher.stacks.collectives import Call, Position, Recording
from launcher.stacks.lateness import find_late

STEP = 0.5  # seconds


def recordings(*delays: float, steps: int = 60, per_step: int = 3, pause: float = 0.0) -> list[Recording]:
    """The first collective of each step is reached by each rank after its delay; the others by all at once.

    `pause` is one long delay of rank 0.
    """
    noise = random.Random(0)
    found = []
    for rank, delay in enumerate(delays):
        calls, number = {}, 0
        for step in range(steps):
            for place in range(per_step):
                number += 1
                late = delay if place == 0 else max(delays) + 0.01 * place
                late += pause if rank == 0 and step == 30 and place == 0 else 0.0
                calls[number] = Call("all_reduce", 1000.0 + step * STEP + late + noise.uniform(0, 0.001))
        found.append(Recording(rank, {"0": Position(number, number - 1, calls)}))
    return found


def test_the_rank_that_comes_last_is_found_with_the_share_of_the_time_that_the_others_wait() -> None:
    late = find_late(recordings(0.0, 0.0, 0.2, 0.01))
    assert late is not None
    assert late.ranks == (2,)
    assert 0.3 < late.share <= 0.41
    assert 27 < late.seconds < 30


def test_all_ranks_of_a_slow_node_are_found() -> None:
    late = find_late(recordings(0.0, 0.0, 0.2, 0.2))
    assert late is not None
    assert late.ranks == (2, 3)


def test_of_two_ranks_the_later_one_is_found() -> None:
    late = find_late(recordings(0.2, 0.0))
    assert late is not None
    assert late.ranks == (0,)


def test_ranks_that_keep_step_have_no_straggler() -> None:
    assert find_late(recordings(0.0, 0.01, 0.0, 0.02)) is None


def test_one_long_pause_such_as_a_checkpoint_makes_no_straggler() -> None:
    assert find_late(recordings(0.0, 0.0, pause=20.0)) is None


def test_the_start_and_a_few_collectives_say_nothing() -> None:
    assert find_late(recordings(0.0, 0.4, steps=9)) is None
    assert find_late([]) is None
    assert find_late([Recording(0, trouble="it does not answer")]) is None


def test_a_single_rank_is_compared_with_nobody() -> None:
    assert find_late(recordings(0.4)) is None
