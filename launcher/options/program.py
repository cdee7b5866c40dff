"""The program that stands at the end of a command line, as torchrun has it: SCRIPT or -m MODULE, and its arguments."""

from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

from launcher.borders.screen import quoted
from launcher.config.base import Section
from launcher.errors import UserError
from launcher.options.fields import Form, config_fields
from launcher.options.flags import option_names
from launcher.options.layer import Values
from launcher.options.meant import DATA_FILES, meant_by_argument
from launcher.options.services import takes_value

ASKING = ("--help", "-h", "--help-all", "--help_all")


@dataclass
class Typed:
    """A command line: its options, files, and the trainer's arguments."""

    files: list[tuple[str | None, Path]] = field(default_factory=list)  # (section, file)
    options: list[str] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)  # what follows --, or the program
    program: str | None = None
    is_module: bool = False
    services: Values = field(default_factory=dict)


MODULE = ("-m", "--module")  # as torchrun has it: the program is a module
_LETTERS = {"-m": "-m", "-r": "--redirects", "-t": "--tee"}  # torchrun's options of one letter, as ours


def split_program(words: list[str], model: type[Section]) -> tuple[list[str], Typed]:
    """Take the program and its arguments off a command line: the first word that is neither an option nor its value.

    Raises UserError for a word that can be no program.
    """
    valued = {
        f"--{name}" for each in config_fields(model) if each.shape is not Form.FLAG for name in option_names(each)
    }
    own, typed, rest = list[str](), Typed(), list(words)
    while rest and rest[0] != "--" and rest[0].partition("=")[0] not in ASKING:
        rest = [*_as_two_words(rest[0]), *rest[1:]]
        word = rest.pop(0)
        if word in MODULE:
            typed.is_module = True
        elif word.startswith(("-", "@")):
            takes = word == "@" or word.replace("_", "-") in valued or takes_value(word)
            own += [word, *([rest.pop(0)] if takes and rest else ())]
        else:
            _check_program(word, typed.is_module)
            typed.program, typed.arguments = word, rest[1:] if rest[:1] == ["--"] else rest
            return own, typed
    if rest[:1] == ["--"] and not typed.is_module and _begins_with_program(rest[1:], own):
        _check_program(rest[1], is_module=False)
        typed.program, typed.arguments = rest[1], rest[2:]
        return own, typed
    if typed.is_module and not (rest and rest[0] != "--"):
        raise _no_module()
    return own + rest, typed


def _begins_with_program(behind: list[str], own: list[str]) -> bool:
    """Whether the first word behind the dashes is the program, as in `torchrun -- train.py`, and not an argument.

    It is an argument if a file or an option may have named the program before.
    """
    named = any(word.startswith(("@", "--trainer.")) for word in own)
    return behind[:1] != [] and not behind[0].startswith("-") and not named


def _no_module() -> UserError:
    return UserError("-m names no module", "type it after that, as in: -m pkg.train --lr 1e-4")


def _as_two_words(word: str) -> list[str]:
    """torchrun's -mNAME, --module=NAME and -r3 as an option of ours and its value; any other word as it is."""
    if word.startswith("--module="):
        return ["-m", word.partition("=")[2]]
    letter, value = word[:2], word[2:].removeprefix("=")
    return [_LETTERS[letter], *([value] if value else ())] if letter in _LETTERS else [word]


def _check_program(word: str, is_module: bool) -> None:
    if word.endswith(DATA_FILES):
        raise UserError(f"{word} is no program", meant_by_argument(word))
    if is_module and not word:
        raise _no_module()
    if is_module and word.endswith(".py"):
        raise UserError(f"-m {word}: that is a script", "leave out -m, or name the module, without .py")


def check_no_dry_run(words: list[str], program: str) -> None:
    """Raises UserError for `train.py --dry-run`, which would start a real run. After `--` it is the program's."""
    if "--dry-run" in takewhile(lambda word: word != "--", words):
        raise UserError(
            f"--dry-run stands after {program}: what follows the program is its own, and the run would start",
            f"put it before {quoted(program)}, or write {quoted(program)} -- --dry-run",
        )
