"""The plan as text to read, and to paste into a shell line by line."""

import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

from launcher.borders.masking import MASK, masked_value, masked_words
from launcher.borders.screen import in_one_line, printable, quoted
from launcher.numbers import plural
from launcher.plan.ready import ready_when
from launcher.plan.spec import Plan, ProcessSpec

_WIDTH = 100  # columns


def render(plan: Plan, cwd: Path, files_are_written: bool) -> str:
    """The output of `--dry-run`: comments, and one command line per component."""
    node = f", {plan.nodes.text}" if plan.nodes else ""
    lines = [_comment(f"{plan.kind} run {plan.name}, attempt {plan.run.attempt}{node}, in {plan.run.root}")]
    lines += [_comment(f"note: {note}") for note in plan.notes]
    if not files_are_written:
        lines.append(
            "# nothing is written; add --output-dir DIR to write the configurations, so that each line can be run"
        )
    if plan.weights_dir:
        lines.append(_comment(f"published weights in {plan.weights_dir}"))
    for words in plan.first:
        lines += ["", "# before all others", " ".join(map(_word, words))]
    for spec in plan.processes:
        lines += ["", *map(_comment, _about(spec)), shell_line(spec, cwd)]
    return "\n".join(lines) + "\n"


def _comment(text: str) -> str:
    """A comment in one line: after a line break in a path, the rest would be a command."""
    return f"# {in_one_line(text)}"


def _about(spec: ProcessSpec) -> Iterator[str]:
    ranks = f", {plural(spec.ranks.count, 'rank')} under torchrun" if spec.ranks else ""
    gpus = f"GPU {','.join(spec.gpus)}" if spec.gpus else "no GPU"
    yield f"{spec.name}: {gpus}{ranks}"
    yield f"  log {spec.log}"
    if spec.ranks:
        yield f"  ranks {spec.ranks.directory}/attempt_0/RANK/{{stdout,stderr}}.log"
    if spec.memory:
        yield f"  memory {spec.memory}"
    if spec.after:
        yield f"  after {', '.join(spec.after)}"
    if spec.ready:
        yield f"  ready when {ready_when(spec.ready)}, within {spec.ready_timeout:g}s"
    if spec.alive:
        asked = f"{spec.alive.check} has not answered {spec.alive.misses} times in a row"
        yield f"  failed when {asked}, asked every {spec.alive.interval:g}s"
    if spec.restarts:
        yield f"  started again when it fails, {spec.restarts} times at most"


def shell_line(spec: ProcessSpec, cwd: Path) -> str:
    """A command for a POSIX shell that starts the process as the supervisor does. Secrets are masked."""
    words = ["env"]
    for name in spec.unset:
        words += ["-u", name]
    words += [f"{name}={_value(spec, name)}" for name in spec.env]
    start = [] if spec.cwd == cwd else ["cd", _word(str(spec.cwd)), "&&"]
    return _broken([*start, *map(_word, words), *map(_word, masked_words(spec.argv))])


def _broken(words: Iterable[str]) -> str:
    """The words of a shell line, with a backslash and a line break where it would be longer than `_WIDTH`.

    An option and its value are in one line, and so are `@` and its file.
    """
    lines = [""]
    for part in _parts(words):
        if lines[-1] and len(lines[-1]) + 1 + len(part) > _WIDTH:
            lines.append(f"   {part}")
        else:
            lines[-1] += f" {part}" if lines[-1] else part
    return " \\\n ".join(lines)


def _parts(words: Iterable[str]) -> Iterator[str]:
    """What is not broken: an option with its value, `@ FILE`, or a single word."""
    first = ""  # an option or an @, which may have a word after it
    for word in words:
        begins = word == "@" or word.startswith("-")
        if begins and first:
            yield first
        elif not begins:
            yield f"{first} {word}" if first else word
        first = word if begins else ""
    if first:
        yield first


def _value(spec: ProcessSpec, name: str) -> str:
    return MASK if name in spec.hidden else masked_value(name, spec.env[name])


def _word(word: str) -> str:
    """The word quoted for any POSIX shell. Line breaks stay; only control characters need $'…'."""
    return shlex.quote(word) if printable(word) == word else quoted(word)
