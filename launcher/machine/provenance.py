"""Where a run comes from: its command line, git commit and package versions."""

import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

from pydantic import BaseModel, Field

from launcher.borders.masking import masked_words
from launcher.borders.values import MOST_PROCESSES, Label, Phrase

PACKAGES = ("launch-rl", "torch", "wandb", "transformers", "vllm")
GIT_SECONDS = 2.0  # a slow file system must not delay a run


class Provenance(BaseModel, defer_build=True):
    argv: Annotated[list[Phrase], Field(max_length=MOST_PROCESSES)] = []  # the first words only
    git_commit: Label | None = None
    git_dirty: bool | None = None
    python: Label = ""
    packages: Annotated[dict[Label, Label], Field(max_length=MOST_PROCESSES)] = {}


def provenance() -> Provenance:
    """Command line, git commit (with a mark for a dirty tree), versions. Errors here never fail a run."""
    commit = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain", "--untracked-files=no") if commit else None
    return Provenance(
        argv=list(map(_text, masked_words(sys.argv)))[:MOST_PROCESSES],
        git_commit=commit,
        git_dirty=None if changes is None else changes != "",
        python=platform.python_version(),
        packages={name: found for name in PACKAGES if (found := _version(name))},
    )


def _text(word: str) -> str:
    r"""The word with non-UTF-8 bytes as \xff, since JSON can hold only UTF-8."""
    return word.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=GIT_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
