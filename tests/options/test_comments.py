"""The comments in a run's config.toml: what was typed, and where each value was set."""

import tomllib
from typing import Any

import pytest
import tomli_w

from launcher.options.comments import FROM, MOST_COMMANDS, annotated, commands_in, origins_in, with_header

VALUES: dict[str, Any] = {
    "grace": "90m",
    "note": 'a "b" # from x  # from y\nz',
    "list": ["a  # from b", "]", "["],
    "empty": [],
    "a.b": {"c d": 1, "services": {"x.y": {"env": {"K": "v"}, "command": ["a", "b"]}}},
    "on": True,
}
PATHS = [
    ("grace",),
    ("note",),
    ("list",),
    ("empty",),
    ("on",),
    ("a.b", "c d"),
    ("a.b", "services", "x.y", "env", "K"),
    ("a.b", "services", "x.y", "command"),
]


def with_origins() -> tuple[str, dict[tuple[str, ...], str]]:
    origins = {path: f"file 'x  # from'.toml:{number}" for number, path in enumerate(PATHS)}
    return annotated(tomli_w.dumps(VALUES), lambda path, _: FROM + origins[path]), origins


def test_origins_are_read_as_they_were_written_and_the_values_are_the_same() -> None:
    text, origins = with_origins()
    assert tomllib.loads(text) == VALUES
    assert origins_in(text) == origins


def test_a_text_with_other_line_ends_of_unicode_stays_one_value() -> None:
    values = {"a": "x\u2028y\x85z", "b": 1}
    text = with_header(annotated(tomli_w.dumps(values), lambda path, _: FROM + "here"), ("launch sft -- x\u2028y",))
    assert tomllib.loads(text) == values
    assert set(origins_in(text)) == {("a",), ("b",)} and len(commands_in(text)) == 1


def test_each_value_is_given_with_its_path() -> None:
    seen: dict[tuple[str, ...], Any] = {}

    def look(path: tuple[str, ...], value: Any) -> None:
        seen[path] = value

    annotated(tomli_w.dumps(VALUES), look)
    assert set(seen) == set(PATHS)
    assert seen["list",] == VALUES["list"] and seen["a.b", "c d"] == 1


@pytest.mark.parametrize(
    "line", ["x = 1  # from", "x = 1  # my note", 'x = "1  # from y"', "# x = 1  # from y", "x = [  # from y"]
)
def test_other_comments_and_texts_are_no_origins(line: str) -> None:
    assert origins_in(line) == {}


def test_a_long_list_in_a_file_of_somebody_else_takes_no_time() -> None:
    text = "x = [\n" + "  1,\n" * 20_000 + "]  # from y\n" + "y = '''\n" + "a = [\n" * 20_000 + "'''\nz = 1  # from z\n"
    assert origins_in(text) == {("z",): "z"}


def test_the_header_keeps_the_first_command_and_the_newest() -> None:
    typed = tuple(f"launch resume otter --max-steps {number}" for number in range(100))
    text = with_header("x = 1\n", typed)
    assert tomllib.loads(text) == {"x": 1}
    assert commands_in(text) == (typed[0], *typed[1 - MOST_COMMANDS :])
    assert commands_in(with_header("x = 1\n", ("launch rl --name 'a\nb = 2'",))) == ("launch rl --name 'a\\nb = 2'",)
    assert commands_in("x = 1\n# launch rl\n") == ()
