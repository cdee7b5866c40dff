"""Makes docs/configuration.md from the models: python docs/make_configuration.py"""

from collections.abc import Iterator
from pathlib import Path

from launcher.config.base import Section
from launcher.config.run import RLConfig, SFTConfig
from launcher.options.fields import ConfigField, config_fields
from launcher.options.help import by_section, default_text, usage
from launcher.plan.placeholders import MEANING

PAGE = Path(__file__).with_name("configuration.md")
INTRODUCTION = """# Configuration reference

Made from the models by `python docs/make_configuration.py`; a test fails when it is out of date.

Each field can stand in a TOML file (`launch rl @ FILE`) under its section, or on the command line under the option in
the second column. Later files win over earlier ones, and the command line over files. `[services.NAME]` is for files
only: `command` (a list, required), `args`, `cwd`, `python`, `env`, `env_file`, `after`, `ready`, `ready_timeout`,
`alive`, `alive_interval`, `alive_misses`, `restart`, `restart_limit` and `gpus` as in the other components, and
`may_exit` for one that may end with exit code 0.

A section that may be absent (`wandb`, `tmux`, `inference`, `log_extras`) is itself an option: `--wandb`, `--no-wandb`,
or `wandb = false` in a file. Setting something inside it switches it on, unless it is set to false.
`trainer.wandb` and `orchestrator.wandb` inherit what they do not set from `wandb`.

`ready` is `http://HOST:PORT/PATH` (or https: answers with 2xx), `tcp://HOST:PORT` (takes a connection) or `log:REGEX`
(is found in a line of the component's log). `after` waits for that; where a component has no `ready`, for its start.

Ready is not alive: for as long as it serves, a server or service is asked again every `alive_interval`, at `alive` or
else at `ready` (not where that is a log line). After `alive_misses` misses in a row it has failed, and `restart`
applies: what hangs is asked to end, killed after `grace`, and started again. `alive = "off"` is for a server that
cannot answer while it works.

Durations are `30s`, `10m`, `1h30m` or a number of seconds, at most `46296d`. Relative paths count from where
`launch` is typed.
"""


LITERAL = """`${…}` stays as it is, `{{` and `}}` are literal braces, and so are those of `{"a": {"b": 1}}`. Another
`{word}` is an error. What follows `--` on the command line has no placeholders: it arrives as it was typed, and
stands in the run's config.toml with its braces doubled."""


def reference() -> str:
    """The whole page."""
    lines = [INTRODUCTION, "## Placeholders", "", "In `command`, `args`, `env` and `ready`:", ""]
    lines += [f"- `{{{name}}}`: {meaning}" for name, meaning in MEANING.items()]
    lines += ["", LITERAL]
    for kind, model in (("rl", RLConfig), ("sft", SFTConfig)):
        lines += ["", f"## launch {kind}", *_tables(model)]
    return "\n".join(lines) + "\n"


def _tables(model: type[Section]) -> Iterator[str]:
    for section, fields in by_section(config_fields(model)).items():
        yield from ("", f"### {f'[{section}]' if section else 'Top level and short options'}", "")
        yield from ("| field | option | default | meaning |", "|---|---|---|---|")
        yield from (_row(field) for field in fields)


def _row(field: ConfigField) -> str:
    cells = (".".join(field.path), f"`{usage(field)}`", default_text(field), field.help)
    return "| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells) + " |"


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
