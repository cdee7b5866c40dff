"""Calls kubectl, and reads what it prints."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any

from launcher.borders.screen import in_one_line
from launcher.processes import tool
from launcher.runs.state import K8sState

PATIENCE = 8.0  # seconds that `launch status` waits for a slow cluster, and for the login that kubectl may have to do
_NOISE = re.compile(r"[EWI]\d{4} ")  # kubectl's own log lines


class NoAnswer(Exception):
    """kubectl gives no answer; the text says why."""


def at(context: str | None) -> list[str]:
    return [f"--context={context}"] if context else []


def place(job: K8sState) -> list[str]:
    """kubectl's options for the job."""
    return [*at(job.context), *([f"--namespace={job.namespace}"] if job.namespace else [])]


def is_installed() -> bool:
    return shutil.which("kubectl") is not None


def query(argv: Sequence[str]) -> str:
    """kubectl's answer. Raises NoAnswer."""
    done = call(argv, PATIENCE)
    if done is None:
        late = f"kubectl has not answered within {PATIENCE:g}s"
        raise NoAnswer(late if is_installed() else "there is no kubectl on this machine")
    if done.returncode != 0:
        raise NoAnswer(words(done.stderr) or f"kubectl's exit code is {done.returncode}")
    return done.stdout


def call(argv: Sequence[str], patience: float) -> "subprocess.CompletedProcess[str] | None":
    """None if there is no kubectl, or it is too slow."""
    return tool.call(["kubectl", *argv], patience)


def words(stderr: str) -> str:
    """kubectl's message, without its log lines."""
    lines = [line for line in stderr.splitlines() if line.strip() and not _NOISE.match(line)]
    return in_one_line(" ".join(lines).removeprefix("error: "))[:2000]


def items(text: str) -> list[dict[str, Any]]:
    """The objects of a list. Raises NoAnswer: a JobSet that is missing in what is no list is not gone."""
    if not isinstance(value_at(object_of(text), "items"), list):
        raise NoAnswer(f"kubectl has printed no list: {in_one_line(text.strip())[:200] or 'nothing'}")
    return list(dicts_at(object_of(text), "items"))


def object_of(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return {}


def value_at(value: Any, *path: str) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def text_at(value: Any, *path: str) -> str:
    found = value_at(value, *path)
    return found if isinstance(found, str) else ""


def dicts_at(value: Any, *path: str) -> Iterator[dict[str, Any]]:
    found = value_at(value, *path)
    return iter([each for each in found if isinstance(each, dict)] if isinstance(found, list) else [])
