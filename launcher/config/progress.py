"""Metrics from the log lines of any program, by a regular expression with named groups."""

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
    """The metric to show for the run: `metric`, or else the first named group besides step.

    Raises ValueError if the pattern has no such group.
    """
    names = list(re.compile(pattern).groupindex)
    if metric is not None and metric not in names:
        raise ValueError(f"progress_metric = {metric!r}: progress names only {', '.join(names)}")
    return metric or next((name for name in names if name != "step"), "step")
