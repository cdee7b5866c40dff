"""What was probably meant by an option or an argument that does not exist: by meaning first, then by spelling."""

import re
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from typing import Any

from typer.exceptions import TyperException

from launcher.borders.help_style import tidied
from launcher.borders.screen import in_one_line, quoted
from launcher.config.run import SFTConfig
from launcher.errors import UserError
from launcher.options.fields import config_fields
from launcher.options.flags import option_names

_MEANING = {
    "background": "detach",
    "c": "@ FILE",
    "checkpoint-dir": "output-dir",
    "config": "@ FILE",
    "config-file": "@ FILE",
    "d": "detach",
    "daemon": "detach",
    "detached": "detach",
    "devices": "nproc",
    "dir": "output-dir",
    "dry": "dry-run",
    "exp-name": "name",
    "experiment": "name",
    "experiment-name": "name",
    "f": "@ FILE",
    "force": "clean",
    "g": "nproc",
    "gpu": "nproc",
    "gpus": "nproc",
    "gpus-per-node": "nproc",
    "grad-clip": "trainer.optimizer.max-norm",
    "init-from": "trainer.model.name",
    "iterations": "max-steps",
    "iters": "max-steps",
    "learning-rate": "trainer.optimizer.lr",
    "log-level": "log.level",
    "m": "trainer.module",
    "machine-rank": "node-rank",
    "main-process-ip": "master-addr",
    "main-process-port": "master-port",
    "max-grad-norm": "trainer.optimizer.max-norm",
    "max-iters": "max-steps",
    "max-train-steps": "max-steps",
    "n": "nproc",
    "nproc-per-host": "nproc",
    "nproc-per-gpu": "nproc",
    "num-gpus": "nproc",
    "num-iterations": "max-steps",
    "num-machines": "nnodes",
    "num-nodes": "nnodes",
    "num-processes": "nproc",
    "num-steps": "max-steps",
    "num-train-steps": "max-steps",
    "o": "output-dir",
    "out": "output-dir",
    "output": "output-dir",
    "overwrite": "clean",
    "print": "dry-run",
    "r": "redirects",
    "ranks": "nproc",
    "run-name": "name",
    "save-every": "trainer.checkpoint.interval",
    "save-interval": "trainer.checkpoint.interval",
    "save-steps": "trainer.checkpoint.interval",
    "steps": "max-steps",
    "t": "tee",
    "total-steps": "max-steps",
    "v": "log.level",
    "verbose": "log.level",
    "world-size": "nproc",
    "wandb-project": "wandb.project",
}
"""What other programs call it -> an option of ours. Those that a command does not have are passed over."""

_FROM_TORCHRUN = frozenset({"use-env", "local-rank", "rank"})  # of torch.distributed.launch, and of its scripts

_RESUME = frozenset({"resume", "resume-from", "resume-from-checkpoint", "continue", "restart", "auto-resume"})


def usage_message(error: TyperException) -> str:
    """What is said of a command line that Typer has refused."""
    if not hasattr(error, "possibilities"):  # only of an option that does not exist
        return str(UserError(_in_our_words(error.format_message()), _usage_if_short_of_one(error)))
    context: Any = getattr(error, "ctx", None)
    options = _options_of(context.command) if context else ()
    option = in_one_line(str(getattr(error, "option_name", "")))
    takes_program = getattr(getattr(context, "command", None), "takes_program", False)
    hints = [] if takes_program and _is_of_a_workload(option, options) else [meant_by(option, options)]
    if hints == [None] and context:
        every = "--help-all" if getattr(context.command, "brief", None) else "--help"
        hints = [f"{context.command_path} {every} lists them"]
    if takes_program:
        hints.append(f"what is meant for your own program stands after it: SCRIPT {option}")
    elif context and context.command_path.startswith("launch resume "):
        hints.append(f"the trainer's own arguments go after --: {context.command_path} -- {option}")
    return str(UserError(f"there is no option {option}", "\n  ".join(filter(None, hints)) or None))


def _is_of_a_workload(option: str, options: Collection[str]) -> bool:
    """Whether the reference workload has this option (--model, --lr), and this command nothing of that name."""
    name = option.lstrip("-").replace("_", "-")
    ours = {word for field in config_fields(SFTConfig) for each in option_names(field) for word in (each, _last(each))}
    return name in ours and name not in {*options, *map(_last, options)}


def _last(option: str) -> str:
    return option.rpartition(".")[2]


def _in_our_words(message: str) -> str:
    """Typer lets pydantic check a value and shows what it says."""
    message = re.sub("Input should be a valid integer[^\n]*", "must be a whole number", message)
    message = re.sub(r"^Option '([^']+)' requires an argument\.$", r"\1 needs a value", message)
    message = re.sub(r"^Option '([^']+)' does not take a value\.$", r"\1 takes no value", message)
    message = re.sub(r"^Got unexpected extra arguments?(?:\(s\))? \((.*)\)$", r"too many arguments: \1", message)
    message = re.sub(r"^Invalid value for (?:'-\w' / )?'([^']+)': ", r"\1: ", message)
    message = re.sub(r"^Missing (?:argument|parameter) '?([^']+?)'?\.?$", r"\1 is missing", message)
    return message.replace("Input should be", "must be")


def _usage_if_short_of_one(error: TyperException) -> str | None:
    """What is to be typed, where an argument is missing."""
    context: Any = getattr(error, "ctx", None)
    if context is None or not error.format_message().startswith("Missing"):
        return None
    words = [word for word in context.command.collect_usage_pieces(context) if word != "[OPTIONS]"]
    return f"type it: {tidied(' '.join([context.command_path, *words]))}"


def _options_of(command: Any) -> list[str]:
    """All options of a command without their dashes, `no-x` included."""
    spellings = [name for each in command.params for name in (*each.opts, *each.secondary_opts)]
    return [name.removeprefix("--") for name in spellings if name.startswith("--")]


def meant_by(option: str, options: Collection[str]) -> str | None:
    """A hint for an option (`--lr`, `-n`) that is not among `options`, which are written without their dashes."""
    name = option.lstrip("-").replace("_", "-").lower()
    if name in _RESUME and "max-steps" in options:
        return "the next attempt of a run is: launch resume RUN"
    if name in _FROM_TORCHRUN and "nproc" in options:
        return "leave it out: each rank finds RANK, LOCAL_RANK and WORLD_SIZE in its environment"
    if name in _MEANING and (_MEANING[name] in options or _MEANING[name].startswith("@")):
        wanted = _MEANING[name]
        return f"did you mean {wanted if wanted.startswith('@') else f'--{wanted}'}?"
    found = [each for each in options if _has_words(each.split("."), name.split("."))]
    found = found or get_close_matches(name, options, n=1, cutoff=0.9) or get_close_matches(name, options, cutoff=0.7)
    found = found or _close_in_last_word(name, options)
    return f"did you mean {' or '.join(f'--{each}' for each in _shortest_first(found)[:3])}?" if found else None


def _has_words(words: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether an option has these words in this order, the last one at its end."""
    rest = iter(words)
    return words[-1] == wanted[-1] and all(word in rest for word in wanted)


def _close_in_last_word(name: str, options: Collection[str]) -> list[str]:
    lasts = {each.split(".")[-1]: each for each in sorted(options, key=len, reverse=True)}
    return [lasts[word] for word in get_close_matches(name.split(".")[-1], lasts, n=2, cutoff=0.75)]


def _shortest_first(options: Sequence[str]) -> list[str]:
    return sorted(options, key=lambda each: (each.count("."), len(each), each))


DATA_FILES = (".toml", ".yaml", ".yml", ".json")


def meant_by_argument(word: str) -> str:
    """A hint for an argument where none is expected."""
    if word.endswith(".py"):
        return f"did you mean --trainer.script {quoted(word)}? The script's own arguments go after --"
    if word.endswith(DATA_FILES):
        file = word if word.endswith(".toml") else f"{word.rpartition('.')[0]}.toml"
        return f"did you mean @ {quoted(file)}? A file is given as @ FILE"
    return "a file is given as @ FILE, the trainer's own arguments after --"
