"""Placeholders such as `{port}` in a user's own command line."""

import re
from collections.abc import Iterator, Mapping

from launcher.errors import UserError

MEANING = {
    "attempt": "the attempt, counted from 1",
    "config": "the component's own configuration file",
    "host": "the address that inference listens on",
    "inference_url": "the inference server's URL",
    "model": "trainer.model.name, unless it is tiny",
    "name": "the run's name",
    "nproc": "trainer ranks on this node",
    "output_dir": "the run's directory",
    "port": "the port that inference listens on",
    "python": "the component's Python, see `python`",
    "run_id": "a random id of the run, the same for all its attempts; each node has its own",
    "services.NAME.port": "the port of a service: its `port`, or one that was free when the run began",
    "services.NAME.url": "where that service is reached: http://HOST:PORT",
}
SERVICES = "services."
_OF_SERVICE = r"\{ ?[Ss]ervic\w*\.[^{}]*\}?"  # right or misspelt
_TOKEN = re.compile(r"\$\{(?!\{)|\{\{|\{[a-z_]+\}|" + _OF_SERVICE + r"|[{}]|[^${}]+|\$")


def expand(where: str, text: str, values: Mapping[str, str | None]) -> str:
    """Replace the placeholders in `text`. `{{` and `}}` become single braces; `${…}` stays.

    The JSON `{"a": {"b": 1}}` stays too: here `}}` closes two open braces. Raises UserError for a placeholder that is
    unknown or has no value in this run.
    """
    return "".join(_pieces(where, text, values))


def _pieces(where: str, text: str, values: Mapping[str, str | None]) -> Iterator[str]:
    opened: list[str] = []  # "{" and "{{" that are still open
    position = 0
    while found := _TOKEN.match(text, position):
        token, position = found.group(), found.end()
        if token == "${":
            position = _end_of_variable(text, position)
            yield text[found.start() : position]
        elif token in ("{", "{{"):
            opened.append(token)
            yield "{"
        elif token == "}":
            is_single = bool(opened) and opened.pop() == "{"
            position += not is_single and text.startswith("}", position)
            yield "}"
        elif token.startswith("{") and not token.endswith("}"):
            hint = "write {services.NAME.port} or {services.NAME.url}, with the service's name; {{ is a literal brace"
            raise UserError(f"{where}: {text[found.start() :]}: a placeholder has no braces in it, and an end", hint)
        else:
            yield _value(where, token[1:-1], values) if token.startswith("{") else token


def _end_of_variable(text: str, start: int) -> int:
    """Where the `${…}` that begins at `start` ends. `start` itself if it has no end."""
    depth = 1
    for brace in re.finditer(r"[{}]", text[start:]):
        depth += 1 if brace.group() == "{" else -1
        if not depth:
            return start + brace.end()
    return start


def _value(where: str, name: str, values: Mapping[str, str | None]) -> str:
    if "." in name:
        return _of_service(where, name, values)
    if name not in MEANING:
        hint = f"there are {', '.join(MEANING)}; {{{{ and }}}} are literal braces"
        raise UserError(f"{where}: {{{name}}} is not a placeholder", hint)
    found = values.get(name)
    if found is None:
        raise UserError(f"{where}: {{{name}}} ({MEANING[name]}) has no value in this run")
    return found


def _of_service(where: str, name: str, values: Mapping[str, str | None]) -> str:
    if name not in values:
        known = [f"{{{each}}}" for each in values if each.startswith(SERVICES)]
        raise UserError(
            f"{where}: {{{name}}} is not a placeholder",
            f"there are {', '.join(known)}" if known else "this run has no services",
        )
    found = values[name]
    if found is None:
        option = f"--{name.rpartition('.')[0]}.port"
        raise UserError(f"{where}: {{{name}}}: the nodes of a run must agree on the port", f"name it with {option}")
    return found
