"""Makes docs/configuration.md from the models: python docs/make_configuration.py"""

from collections.abc import Iterator
from pathlib import Path

from launcher.config.base import Section
from launcher.config.run import KINDS
from launcher.options.fields import ConfigField
from launcher.options.help import by_section, default_text, every_field, usage
from launcher.plan.placeholders import MEANING

PAGE = Path(__file__).with_name("configuration.md")
INTRODUCTION = """# Configuration reference

Made from the models by `python docs/make_configuration.py`; a test fails when it is out of date.

Set a field in a TOML file (`launch rl @ FILE`) in its section, or on the command line with the option in the second
column. Later files override earlier ones, and the command line overrides files. A service is a table
`[services.NAME]` with a name of your choice, or on the command line `--services.NAME.FIELD`. There every `command` is
split as a shell would: `--services.redis.command "redis-server --port {services.redis.port}"`. So are
`--trainer.command`, `--orchestrator.command` and `--inference.command`; given several times, each of them is a word.

An optional section (`wandb`, `tmux`, `inference`, `log_extras`) is also an option: `--wandb`, `--no-wandb`, or
`wandb = false` in a file. Setting a field in it to anything but false switches it on.
`trainer.wandb` and `orchestrator.wandb` inherit unset fields from `wandb`.

`ready` is `http://HOST:PORT/PATH` (or https; ready when it answers with 2xx), `tcp://HOST:PORT` (when it accepts a
connection) or `log:REGEX` (when a line of the component's log matches). `after` waits until those components are
ready, or started if they have no `ready`.

A server or service that was ready is checked again every `alive_interval`, with `alive` or else with `ready` (unless
that is `log:REGEX`). After `alive_misses` failed checks in a row it has failed. With `restart = "on-failure"` a
server that hangs gets SIGTERM, after `grace` SIGKILL, and is started again. Use `alive = "off"` for a server that
cannot answer while it works.

Durations are `30s`, `10m`, `1h30m` or a number of seconds, at most `46296d`. Relative paths are relative to the
directory where you type `launch`.
"""


LITERAL = """`${…}` stays unchanged. `{{` and `}}` are literal braces, and so are the braces in `{"a": {"b": 1}}`. Any
other `{word}` is an error. Words after `--` on the command line have no placeholders: they reach the program
unchanged, and the run's config.toml has them with doubled braces."""


def reference() -> str:
    """The whole page."""
    lines = [INTRODUCTION, "## Placeholders", "", "In `command`, `args`, `env` and `ready`:", ""]
    lines += [f"- `{{{name}}}`: {meaning}" for name, meaning in MEANING.items()]
    lines += ["", LITERAL]
    for kind, model in KINDS.items():
        lines += ["", f"## launch {kind}", *_tables(model)]
    return "\n".join(lines) + "\n"


def _tables(model: type[Section]) -> Iterator[str]:
    for section, fields in by_section(every_field(model)).items():
        yield from ("", f"### {f'[{section}]' if section else 'Top level and short options'}", "")
        yield from ("| field | option | default | meaning |", "|---|---|---|---|")
        yield from (_row(field) for field in fields)


def _row(field: ConfigField) -> str:
    cells = (".".join(field.path), f"`{usage(field)}`", default_text(field), field.help)
    return "| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells) + " |"


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
