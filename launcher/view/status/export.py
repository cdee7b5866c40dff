"""What goes into the archive of a bug report: text only, its end where it is long, secrets masked."""

import os
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import tomli_w

from launcher.borders.files import read_bytes, read_end
from launcher.borders.masking import MASK, is_secret, masked_line, secret_words
from launcher.borders.screen import printable
from launcher.rundir import RunDir
from launcher.runs.state import RunState
from launcher.view.status.model import run_details
from launcher.view.status.page import run_page

TAIL = 256 * 1024  # bytes of a log
MOST_LOGS = 200  # files
_SHORTEST = 8  # characters of a secret's value that is looked for in texts


def contents(run: RunDir, state: RunState, environ: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    """Name and text of each file of the archive."""
    secrets = [value for name, value in environ.items() if is_secret(name) and len(value) >= _SHORTEST]
    yield "status.txt", _masked(run_page(state, run_details(run, state), colours=False) + "\n", secrets)
    if state.failure:
        yield "failure.txt", _masked(state.failure.text, secrets)
    for path in _files(run):
        with suppress(OSError):
            name = str(path.relative_to(run.root))
            text = _read(path).decode(errors="replace")
            yield name, _masked(_without_secret_words(text) if path.suffix == ".toml" else text, secrets)


def _files(run: RunDir) -> Iterator[Path]:
    """State, configurations, logs with stacks, and the ends of the metrics; links are not followed."""
    yield from (run.state, run.config)
    yield from sorted(_texts_below(run.component_config("any").parent))[:MOST_LOGS]
    logs = [*_texts_below(run.all_logs), *_texts_below(run.all_metrics)]
    yield from sorted(logs, key=_newest_first)[:MOST_LOGS]


def _texts_below(top: Path) -> Iterator[Path]:
    if any(part.is_symlink() for part in (top, top.parent)):
        return
    for folder, _, names in os.walk(top):
        for path in (Path(folder, name) for name in names):
            if path.suffix in (".toml", ".log", ".txt", ".json", ".jsonl") and path.is_file() and not path.is_symlink():
                yield path


def _newest_first(path: Path) -> tuple[float, str]:
    try:
        return -path.stat().st_mtime, str(path)
    except OSError:  # it is gone meanwhile
        return 0.0, str(path)


def _read(path: Path) -> bytes:
    if path.suffix in (".toml", ".json"):
        return read_bytes(path)
    end = read_end(path, TAIL)
    return end if len(end) < TAIL else end.partition(b"\n")[2]


def _without_secret_words(text: str) -> str:
    """TOML without the words behind `--api-key` and the like. Each stands on a line of its own, below the option."""
    try:
        words = secret_words(tomllib.loads(text))
    except ValueError:
        return text
    for word in words:
        text = text.replace(tomli_w.dumps({"word": word}).removeprefix("word = ").rstrip(), f'"{MASK}"')
    return text


def _masked(text: str, secrets: list[str]) -> bytes:
    """Without the values of this environment's secrets, and without what looks like one."""
    for secret in sorted(secrets, key=len, reverse=True):  # one may begin with another
        text = text.replace(secret, MASK)
    lines = (printable(masked_line(line)) for line in text.split("\n"))
    return "\n".join(lines).encode(errors="replace")
