"""What a shell gets when somebody presses Tab.

The scripts and the protocol are Typer's. It would be loaded in a tenth of a second, and all options in five times that:
so this uses the standard library only, and a table of the options that `launcher.completion.table` has written.
"""

import json
import os
import re
import stat
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from launcher.completion.services import metavar, service_options
from launcher.completion.shells import Items, show, typed

VARIABLE = "_LAUNCH_COMPLETE"

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,62}")
_NAME_IN_STATE = re.compile(r'"name":\s*"([^"\\]+)"')
_LOG_NAME = re.compile(r"[\w.-]+\.log")
_FIXED = {"--window": "logs|ranks|launcher|metrics", "--level": "debug|info|warning|error", "--attempt": "1|2|3"}
_SPECIAL = {
    "--version": "the version",
    "--help": "what there is",
    "--install-completion": "install completion for this shell",
    "--show-completion": "print the script of it",
}
_LETTERS = {"-r": "--redirects", "-t": "--tee"}  # torchrun's
MOST_RUNS = 500
_FILES = ("PATH", "FILE")
_KINDS = {kind: f"what launch {kind} would start" for kind in ("rl", "sft", "train")}


class WantsFiles(Exception):
    """A file is to be named: the shell does this better."""

    def __init__(self, prefix: str = "", ending: str = "") -> None:
        super().__init__(prefix, ending)
        self.prefix, self.ending = prefix, ending


def answer(commands: Mapping[str, str], instruction: str, environ: Mapping[str, str] = os.environ) -> int:
    """Print what may follow, as the shell's script expects it. Returns the exit code."""
    shell = instruction.rpartition("_")[2]
    sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
    incomplete = ""
    try:
        words, incomplete = typed(shell, environ)
        items = candidates(commands, words, incomplete)
        items = {word: text for word, text in items.items() if word.startswith(incomplete)}
    except WantsFiles as wanted:
        return _files(shell, wanted, incomplete)
    except (Exception, KeyboardInterrupt):  # nothing is better than a traceback in the middle of a command
        items = {}
    return show(shell, items, environ)


# --- what may follow --------------------------------------------------------------------------------------------------


def candidates(commands: Mapping[str, str], words: Sequence[str], incomplete: str) -> Items:
    """Everything that may stand at this place. Raises WantsFiles for a file."""
    if not words:
        return _SPECIAL if incomplete.startswith("-") else dict(commands)
    if words[0] in ("--install-completion", "--show-completion"):
        return dict.fromkeys(("bash", "zsh", "fish"), "")
    command, before = words[0], words[1:]
    if command not in commands or "--" in before:
        raise WantsFiles
    table = known(commands).get(command)
    if table is None:
        return {}
    if incomplete.startswith("@") or (before and before[-1] == "@"):
        raise WantsFiles("@" if incomplete.startswith("@") else "", ".toml")
    options = table["options"]
    if before and before[-1] in ("--help", "-h"):
        return _sections(options)
    if before and (takes := _metavar(table, before[-1])):
        return _values(before[-1], takes)
    given = _positional(table, before)
    if "program" in table["arguments"] and given:  # what follows is its own
        raise WantsFiles
    if incomplete.startswith("-"):
        items = {name: text for name, (text, _) in options.items()}
        return items | service_options(table.get("services", {}), _sections(options), before, incomplete)
    return _arguments(command, table["arguments"], given, incomplete)


def _metavar(table: Mapping[str, Any], word: str) -> str:
    """What the option takes; empty for a flag, or for what is no option."""
    word, options = _LETTERS.get(word, word), table["options"]
    if word.startswith("--services.") and "=" not in word:
        return metavar(table.get("services", {}), word)
    return str(options[name][1]) if (name := word.replace("_", "-")) in options else ""


def _values(option: str, takes: str) -> Items:
    choices = _FIXED.get(option, takes)
    if "|" in choices:
        return dict.fromkeys(choices.split("|"), "")
    if takes in _FILES or option.endswith((".script", ".name", "--model", "--task", "-dir", ".dir", ".cwd")):
        raise WantsFiles
    return {}


def _sections(options: Mapping[str, Sequence[str]]) -> Items:
    dotted = [name.removeprefix("--") for name in options if "." in name and not name.startswith("--no-")]
    return dict.fromkeys(sorted({name[:end] for name in dotted for end in range(len(name)) if name[end] == "."}), "")


def _positional(table: Mapping[str, Any], before: Sequence[str]) -> list[str]:
    """The words that are neither options nor their values."""
    found, takes = [], False
    for word in before:
        if not takes and not word.startswith(("-", "@")):
            found.append(word)
        takes = word == "@" or bool(_metavar(table, word))
    return found


def _arguments(command: str, kinds: Sequence[str], given: Sequence[str], incomplete: str) -> Items:
    place = kinds[min(len(given), len(kinds) - 1)] if kinds else ""
    if place == "program":
        if incomplete:
            raise WantsFiles
        return {"@": "a TOML file", **dict.fromkeys(sorted(map(str, Path().glob("*.py"))), "a script")}
    if len(given) >= len(kinds) and not place.endswith("..."):
        return {"@": "a TOML file"} if command in (*_KINDS, "config", "resume") else {}
    if place == "component":
        return dict.fromkeys(components(given[0]), "")
    more = _KINDS if command == "config" else {}
    if "/" in incomplete or incomplete.startswith((".", "~")):
        raise WantsFiles
    runs = dict.fromkeys(run_names(), "") | more
    if any(name.startswith(incomplete) for name in runs):
        return runs
    return dict.fromkeys(_registered(), "") | more


# --- runs -------------------------------------------------------------------------------------------------------------


def run_names() -> list[str]:
    """The names of the runs below ./outputs, the newest first."""
    return [name for name in map(_name, _roots()) if _NAME.fullmatch(name)]


def _roots(outputs: Path = Path("outputs")) -> list[Path]:
    """The directories of the newest runs."""
    found = []
    with suppress(OSError):
        for entry in os.scandir(outputs):
            with suppress(OSError):
                status = os.stat(os.path.join(entry.path, "run.json"))  # noqa: PTH116, PTH118
                if stat.S_ISREG(status.st_mode) and not entry.is_symlink():  # nobody may write to a FIFO
                    found.append((status.st_mtime, entry.path))
    return [Path(path) for _, path in sorted(found, reverse=True)[:MOST_RUNS]]


def _name(root: Path) -> str:
    """The run's own name, which is the first thing in run.json."""
    with suppress(OSError), (root / "run.json").open(encoding="utf-8", errors="replace") as file:
        if found := _NAME_IN_STATE.search(file.read(400)):
            return found[1]
    return root.name


def _registered() -> list[str]:
    """The names in the registry of all runs; whether they still exist is not looked at."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")  # noqa: PTH111
    with suppress(OSError):
        names = [name.partition("-")[2] for name in os.listdir(os.path.join(state, "launch", "runs"))]  # noqa: PTH118, PTH208
        return [name for name in names if _NAME.fullmatch(name)]
    return []


def components(run: str) -> list[str]:
    """The components of a run, by their logs in its newest attempt."""
    roots = [Path(run), Path("outputs", run), *(root for root in _roots() if _name(root) == run)]
    logs = next((root / "logs" / "latest" for root in roots if (root / "run.json").exists()), None)
    names = []
    with suppress(OSError):
        names = [entry.name for entry in os.scandir(logs) if _LOG_NAME.fullmatch(entry.name)] if logs else []
    return sorted(name.removesuffix(".log") for name in names)


# --- the table of options ---------------------------------------------------------------------------------------------


def known(commands: Mapping[str, str]) -> dict[str, Any]:
    """The options of all commands, from the cache; it is written anew when the package has changed."""
    path, key = cache_file(), package_key()
    if path:
        with suppress(OSError, ValueError, KeyError, TypeError):
            cached = json.loads(path.read_bytes())
            if cached["key"] == key:
                return dict(cached["commands"])
    from launcher.completion.table import make_table

    table = make_table(commands)
    if path:
        _keep(path, json.dumps({"key": key, "commands": table}))
    return table


def _keep(path: Path, text: str) -> None:
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        beside.write_text(text)
        beside.replace(path)


def package_key() -> str:
    """Changes when a file that options are made from does."""
    package = Path(__file__).parent.parent
    times = [os.stat(package / "cli.py").st_mtime_ns]  # noqa: PTH116
    for folder in ("config", "options", "commands", "commands/starting", "completion"):
        times += [entry.stat().st_mtime_ns for entry in os.scandir(package / folder) if entry.name.endswith(".py")]
    return f"{package} {len(times)} {max(times)}"


def cache_file() -> Path | None:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    return Path(base, "launch", "completion.json") if os.path.isabs(base) else None  # noqa: PTH117


# --- files ------------------------------------------------------------------------------------------------------------


def _files(shell: str, wanted: WantsFiles, incomplete: str) -> int:
    if shell == "zsh":
        only = f"-g '*{wanted.ending}(-.)'" if wanted.ending else ""
        print(f"{'compset -P @; ' if wanted.prefix else ''}_files {only}")
        return 0
    if not wanted.ending:
        return 1  # the shell's own completion
    found = [wanted.prefix + path for path in toml_files(incomplete.removeprefix("@"))]
    return show(shell, dict.fromkeys(found, ""), os.environ)


def toml_files(typed: str) -> list[str]:
    """The TOML files and directories that continue a path; a directory that is the only one gives what is in it."""
    folder, _, start = typed.rpartition("/")
    folder = f"{folder}/" if "/" in typed else ""
    found = []
    with suppress(OSError):
        for entry in sorted(os.scandir(os.path.expanduser(folder) or "."), key=lambda each: each.name):  # noqa: PTH111
            if entry.name.startswith(start) and not (entry.name.startswith(".") and not start):
                with suppress(OSError):  # a link to itself
                    found += [f"{folder}{entry.name}/"] if entry.is_dir() else []
                    found += [f"{folder}{entry.name}"] if entry.name.endswith(".toml") and entry.is_file() else []
    if len(found) == 1 and found[0].endswith("/") and found[0] != typed:
        return toml_files(found[0]) or found
    return found
