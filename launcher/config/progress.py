"""Progress that is read off the log lines of a program that knows nothing of us, by a regular expression with names."""

import re
from typing import Annotated

from pydantic import AfterValidator


def _named(pattern: str) -> str:
    try:
        groups = re.compile(pattern).groupindex
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    if not groups:
        raise ValueError(r"names no metric; write (?P<NAME>...), as in (?P<step>\d+).*loss=(?P<loss>[\d.]+)")
    return pattern


ProgressPattern = Annotated[str, AfterValidator(_named)]
"""A regular expression whose named groups are metrics; the one named step is the step."""


def headline(pattern: str, metric: str | None = None) -> str:
    """The metric that says how the run is doing: `metric`, or else the first name besides step.

    Raises ValueError when the pattern has no such name.
    """
    names = list(re.compile(pattern).groupindex)
    if metric is not None and metric not in names:
        raise ValueError(f"progress_metric = {metric!r}: progress names only {', '.join(names)}")
    return metric or next((name for name in names if name != "step"), "step")
