"""Colours of a terminal."""

import re


def without_colours(text: str) -> str:
    """The text without its colours. Any other control sequence stays in it."""
    return re.sub("\x1b\\[[0-9;]*m", "", text)
