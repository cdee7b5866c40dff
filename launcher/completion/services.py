"""Tab after `--services.NAME.`: NAME is free, so it is taken from what stands on the line already, and from its files.

Standard library only, like everything that a Tab loads. TOML files are read only when what is typed may be such an
option.
"""

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

_BEGINNINGS = ("--services.", "--no-services.")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,62}")  # zsh evaluates what it gets
_MOST_BYTES = 1 << 20  # of a TOML file; a longer one would make a key press slow

Options = Mapping[str, Sequence[str]]  # name -> its help and what it takes


def metavar(fields: Options, word: str) -> str:
    """What `--services.NAME.FIELD` takes; empty for a flag."""
    return fields.get(word.rpartition(".")[2].replace("_", "-"), ("", "TEXT"))[1]


def service_options(
    fields: Options, sections: Mapping[str, str], before: Sequence[str], incomplete: str
) -> dict[str, str]:
    """The options of every service that is named, with their help; none while another option is being typed."""
    if not any(incomplete.startswith(begin) or begin.startswith(incomplete) for begin in _BEGINNINGS):
        return {}
    names = dict.fromkeys([*_on_the_line([*before, incomplete]), *_in_files(before, sections)])
    found: dict[str, str] = {}
    for name in names:
        if _NAME.fullmatch(name):
            found |= {f"--services.{name}.{field}": text for field, (text, _) in fields.items()}
            found |= {f"--no-services.{name}.{field}": text for field, (text, takes) in fields.items() if not takes}
    return found


def _on_the_line(words: Sequence[str]) -> Iterator[str]:
    for word in words:
        if word.startswith(_BEGINNINGS):
            yield word.partition("=")[0].partition(".")[2].rpartition(".")[0]


def _in_files(words: Sequence[str], sections: Mapping[str, str]) -> Iterator[str]:
    """The services of `@ FILE`; with `--trainer @ FILE` all that the file has is the trainer's."""
    for at, word in enumerate(words):
        if word.startswith("@") and not (at and words[at - 1].startswith("--") and words[at - 1][2:] in sections):
            file = word[1:] or "".join(words[at + 1 : at + 2])
            yield from _services_of(os.path.expanduser(file))  # noqa: PTH111


def _services_of(path: str) -> list[str]:
    import tomllib

    with suppress(OSError, ValueError, RecursionError):
        status = os.stat(path)  # noqa: PTH116
        if stat.S_ISREG(status.st_mode) and status.st_size <= _MOST_BYTES:  # nobody may write to a FIFO
            with open(path, "rb") as file:  # noqa: PTH123
                services = tomllib.load(file).get("services")
            return list(services) if isinstance(services, dict) else []
    return []
