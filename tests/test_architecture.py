"""The house: config -> plan -> run -> view -> cli, one direction, and what each room may not touch."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import launcher
from tests.children import run_python

PACKAGE = Path(launcher.__file__).parent
ROOMS = ("config", "plan", "run", "view", "cli")
MACHINE = {"subprocess", "socket", "os", "libtmux", "torch", "time", "random", "datetime", "threading", "asyncio"}
HEAVY = {"torch", "wandb", "libtmux", "rich", "numpy"}
FORBIDDEN = {
    "config": {"torch", "wandb", "libtmux", "rich", "subprocess", "socket", "os", "time", "random"},
    "plan": MACHINE | {"wandb", "rich"},
    "run": {"torch", "wandb", "libtmux", "rich"},
    "view": {"torch", "wandb"},
    "workload": {"libtmux", "rich", "subprocess"},
}


def files(room: str) -> list[Path]:
    return sorted((PACKAGE / room).rglob("*.py")) if room != "cli" else [PACKAGE / "cli.py"]


def imports(path: Path) -> Iterator[str]:
    """Every module that the file imports, wherever in it, with what is taken from packages of ours."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "launcher" and len(parts) > 1 else None


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_never_imports_a_later_one(room: str) -> None:
    later = set(ROOMS[ROOMS.index(room) + 1 :])
    reached = {(path.name, module) for path in files(room) for module in imports(path) if room_of(module) in later}
    assert reached == set()


@pytest.mark.parametrize("room", FORBIDDEN)
def test_a_room_touches_only_what_is_its_own(room: str) -> None:
    touched = {(path.name, module) for path in files(room) for module in imports(path)}
    assert {(name, module) for name, module in touched if module.split(".")[0] in FORBIDDEN[room]} == set()


def test_views_never_touch_processes_nor_know_who_starts_them() -> None:
    starting = {
        f"launcher.run.{name}" for name in ("spawn", "split", "guard", "watcher", "supervisor", "prepare", "probe")
    }
    killing = {f"launcher.run.processes.{name}" for name in ("kill_quietly", "signal_group", "sweep")}
    reached = {(path.name, module) for path in files("view") for module in imports(path)}
    assert {(name, module) for name, module in reached if module in starting | killing} == set()


@pytest.mark.parametrize("room", ["config", "plan", "run", "view"])
def test_nothing_of_the_launcher_depends_on_the_workload(room: str) -> None:
    reached = {(path.name, module) for path in files(room) for module in imports(path)}
    assert {(name, module) for name, module in reached if room_of(module) == "workload"} == set()


@pytest.mark.parametrize(
    "path", [path for room in ("config", "plan", "run") for path in files(room)], ids=lambda p: p.name
)
def test_nobody_but_the_views_and_the_command_line_prints(path: Path) -> None:
    allowed = {"entry.py"}  # the command line of the workload's modules
    calls = [
        node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name) and node.id == "print"
    ]
    assert path.name in allowed or calls == []


def loaded_by(code: str) -> set[str]:
    done = run_python(f"import sys\n{code}\nprint(*sys.modules)", PACKAGE.parent)
    assert done.returncode == 0, done.stderr
    return {name.split(".")[0] for name in done.stdout.split("\n")[-2].split()}


HELP = """
from launcher.cli import app
import contextlib, io
with contextlib.redirect_stdout(io.StringIO()):
    app.main({arguments!r}, prog_name="launch", standalone_mode=False)
"""


@pytest.mark.parametrize(
    "code",
    [
        "import launcher.cli",
        "import launcher",
        HELP.format(arguments=["--help"]),
        HELP.format(arguments=["rl", "--help"]),
        HELP.format(arguments=["sft", "--dry-run"]),
        HELP.format(arguments=["status"]),
    ],
    ids=[
        "import launcher.cli",
        "import launcher",
        "launch --help",
        "launch rl --help",
        "launch sft --dry-run",
        "launch status",
    ],
)
def test_heavy_libraries_are_not_loaded_before_they_are_used(code: str) -> None:
    assert loaded_by(code) & HEAVY == set()


def test_the_help_of_all_commands_loads_no_models() -> None:
    assert "pydantic" not in loaded_by(HELP.format(arguments=["--help"]))


def test_the_supervisor_loads_neither_torch_nor_wandb() -> None:
    loaded = loaded_by(
        "import launcher.run.supervisor, launcher.run.cause, launcher.view.console, launcher.view.report"
    )
    assert loaded & {"torch", "wandb", "libtmux"} == set()


@pytest.mark.parametrize("name", ["guard", "watcher"])
def test_guard_and_watcher_need_nothing_but_the_standard_library(name: str) -> None:
    modules = {module.split(".")[0] for module in imports(PACKAGE / "run" / f"{name}.py")}
    assert modules <= set(sys.stdlib_module_names)


def test_files_that_others_may_have_planted_have_one_opener() -> None:
    careful = {path.name for path in PACKAGE.rglob("*.py") if "O_NOFOLLOW" in path.read_text()}
    assert careful == {"files.py"}
