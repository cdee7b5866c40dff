"""In which order components are started: `after`."""

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter


def check_order(after: Mapping[str, tuple[str, ...]]) -> None:
    """`after` has the names that each component waits for. Raises ValueError if some could never start."""
    for name, awaited in after.items():
        unknown = [other for other in awaited if other not in after]
        if unknown:
            raise ValueError(
                f"{name}.after = {unknown[0]!r}: this run has no such component; it has {', '.join(after)}"
            )
    try:
        TopologicalSorter(after).prepare()
    except CycleError as error:
        cycle = error.args[1][::-1]
        raise ValueError(f"components wait for each other: {' after '.join(cycle)}") from None
