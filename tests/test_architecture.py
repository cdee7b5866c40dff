"""The house: each room knows those below it and never those above, and what each may not touch."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import launcher
from tests.children import run_python

PACKAGE = Path(launcher.__file__).parent
ROOMS = (
    "errors",
    "numbers",
    "home",
    "rundir",
    "checkpoints",
    "borders",
    "config",
    "options",
    "plan",
    "processes",
    "instrumentation",
    "logger",
    "tracking",
    "monitor",
    "machine",
    "failure",
    "nodes",
    "runs",
    "timeline",
    "control",
    "slurm",
    "k8s",
    "jobs",
    "stacks",
    "supervisor",
    "notify",
    "view",
    "doctor",
    "session",
    "commands",
    "completion",
    "cli",
)
"""From the ground up. A room imports from those before it alone."""

FLOORS = {
    "view": ("", "logs", "status", "tmux", "console", "top"),
    "supervisor": ("rules", "", "listeners"),
}
"""The folders of a room in the same order; "" is the files beside them."""

BESIDE = ("__init__", "__main__", "torchrun_logs", "vllm_access", "workload")
MOST_FILES = 14  # in a folder
MOST_COMMANDS = 18  # in commands/, which has a file for each command
MOST_LINES = 300  # in a module
LARGEST = 0.15  # of all lines, in a room or one of its folders

TESTED_ELSEWHERE = {
    "__main__.py": "e2e/slurm/test_jobs.py",
    "borders/records.py": "borders/test_problems.py",
    "borders/values.py": "borders/test_fuzz.py",
    "checkpoints.py": "workload/test_files.py",
    "completion/install.py": "completion/test_answer.py",
    "completion/shells.py": "completion/test_answer.py",
    "completion/table.py": "completion/test_answer.py",
    "borders/help_style.py": "options/test_help.py",
    "commands/attach.py": "test_tmux_sh.py",
    "commands/starting/carry_out.py": "e2e/test_nodes.py",
    "commands/common.py": "runs/test_choice.py",
    "commands/doctor.py": "doctor/test_doctor.py",
    "commands/logs.py": "view/logs/test_follow.py",
    "commands/checkpoint.py": "e2e/test_checkpoint.py",
    "commands/starting/resume.py": "e2e/test_life.py",
    "commands/starting/rl.py": "test_cli.py",
    "commands/starting/run_command.py": "test_cli.py",
    "commands/starting/sft.py": "test_cli.py",
    "commands/starting/train.py": "test_cli.py",
    "commands/stacks.py": "e2e/test_stacks.py",
    "commands/starting/start.py": "test_cli.py",
    "commands/status.py": "e2e/test_status.py",
    "commands/stop.py": "e2e/test_signals.py",
    "commands/top.py": "e2e/test_top.py",
    "config/component.py": "config/test_toml.py",
    "config/rollout.py": "config/test_toml.py",
    "config/sections.py": "config/test_run.py",
    "config/training.py": "config/test_toml.py",
    "config/notify.py": "notify/test_channels.py",
    "config/jobs/k8s.py": "k8s/test_jobset.py",
    "config/jobs/slurm.py": "slurm/test_script.py",
    "config/wandb.py": "plan/test_wandb_runs.py",
    "config/workload.py": "config/test_toml.py",
    "control/client.py": "control/test_inbox.py",
    "control/messages.py": "control/test_inbox.py",
    "doctor/check.py": "doctor/test_doctor.py",
    "doctor/nodes/examine.py": "e2e/test_doctor_nodes.py",
    "doctor/nodes/node.py": "e2e/test_doctor_nodes.py",
    "doctor/nodes/pair.py": "e2e/test_doctor_nodes.py",
    "doctor/machine_checks.py": "doctor/test_doctor.py",
    "doctor/software_checks.py": "doctor/test_doctor.py",
    "errors.py": "options/test_load.py",
    "failure/failure.py": "failure/test_cause.py",
    "failure/log_end.py": "failure/test_cause.py",
    "failure/torchrun_account.py": "failure/test_cause.py",
    "home.py": "runs/test_registry.py",
    "instrumentation/waiting.py": "runs/test_waits.py",
    "machine/gpus.py": "doctor/test_doctor.py",
    "machine/hub_program.py": "machine/test_hub.py",
    "machine/limits.py": "e2e/test_hostile_user.py",
    "machine/wandb_login.py": "doctor/test_doctor.py",
    "nodes/channel.py": "e2e/test_doctor_nodes.py",
    "nodes/meeting.py": "nodes/test_rendezvous.py",
    "nodes/messages.py": "nodes/test_peers.py",
    "nodes/reception.py": "nodes/test_rendezvous.py",
    "nodes/seal.py": "nodes/test_peers.py",
    "options/layer.py": "options/test_load.py",
    "options/messages.py": "options/test_load.py",
    "options/flags.py": "options/test_fields.py",
    "plan/serving/addresses.py": "plan/test_replicas.py",
    "plan/spec.py": "plan/test_build.py",
    "processes/guard.py": "e2e/test_signals.py",
    "processes/guard_fork.py": "e2e/test_supervision.py",
    "processes/identity.py": "processes/test_proof.py",
    "processes/signals.py": "e2e/test_signals.py",
    "processes/spawn.py": "e2e/test_supervision.py",
    "processes/watcher.py": "e2e/test_supervision.py",
    "runs/inspection.py": "view/status/test_model.py",
    "runs/liveness.py": "view/status/test_model.py",
    "runs/keeping/clean.py": "commands/test_clean.py",
    "runs/on_exit.py": "e2e/test_life.py",
    "runs/state_file.py": "runs/test_state.py",
    "runs/stop.py": "e2e/test_signals.py",
    "runs/survivors.py": "processes/test_proof.py",
    "runs/usage.py": "e2e/test_status.py",
    "session.py": "e2e/test_life.py",
    "jobs/scheduler.py": "jobs/test_submit.py",
    "jobs/schedulers.py": "jobs/test_submit.py",
    "k8s/kubectl.py": "k8s/test_client.py",
    "k8s/scheduler.py": "k8s/test_lifecycle.py",
    "k8s/yaml.py": "k8s/test_jobset.py",
    "slurm/client.py": "jobs/test_submit.py",
    "slurm/scheduler.py": "jobs/test_submit.py",
    "slurm/time_limit.py": "e2e/slurm/test_jobs.py",
    "stacks/asking.py": "e2e/test_stacks.py",
    "stacks/diagnosis.py": "e2e/test_stacks.py",
    "stacks/looks.py": "supervisor/test_looks.py",
    "stacks/ptrace.py": "stacks/test_stacks.py",
    "supervisor/rules/actions.py": "supervisor/rules/test_policy.py",
    "supervisor/rules/events.py": "supervisor/rules/test_policy.py",
    "supervisor/listeners/state.py": "runs/test_state.py",
    "borders/log_tail.py": "supervisor/test_readiness.py",
    "supervisor/rules/members.py": "supervisor/rules/test_node_policy.py",
    "supervisor/rules/roster.py": "supervisor/rules/test_policy.py",
    "supervisor/rules/suspicion.py": "supervisor/rules/test_policy.py",
    "supervisor/conduct.py": "supervisor/test_supervisor.py",
    "supervisor/sensors.py": "e2e/test_signals.py",
    "torchrun_logs/launch_torchrun_logs.py": "e2e/test_supervision.py",
    "tracking/sinks.py": "test_monitor.py",
    "tracking/wandb_init.py": "tracking/test_wandb_sink.py",
    "tracking/wandb_links.py": "tracking/test_wandb_sink.py",
    "tracking/wandb_tables.py": "tracking/test_wandb_sink.py",
    "view/logs/pods.py": "k8s/test_pod_logs.py",
    "view/config.py": "commands/test_config.py",
    "view/status/export.py": "commands/test_export.py",
    "view/status/diff.py": "commands/test_diff.py",
    "view/console/detached.py": "e2e/test_life.py",
    "view/console/acts.py": "e2e/test_live_view.py",
    "view/console/borrower.py": "e2e/test_attach.py",
    "view/console/keys.py": "e2e/test_live_view.py",
    "view/console/live_run.py": "view/console/test_live_frame.py",
    "view/logs/bounds.py": "view/logs/test_follow.py",
    "view/logs/fold.py": "view/logs/test_follow.py",
    "view/logs/likeness.py": "view/logs/test_follow.py",
    "view/logs/lines.py": "view/logs/test_follow.py",
    "view/logs/long_lines.py": "view/logs/test_follow.py",
    "view/logs/merge.py": "view/logs/test_follow.py",
    "view/logs/rank_lines.py": "view/logs/test_followed_file.py",
    "view/logs/read_fold.py": "view/logs/test_follow.py",
    "view/logs/reader.py": "view/logs/test_follow.py",
    "view/logs/request.py": "view/logs/test_follow.py",
    "view/logs/sources.py": "view/logs/test_follow.py",
    "view/status/late.py": "e2e/test_stacks.py",
    "view/status/page.py": "view/status/test_model.py",
    "view/status/table.py": "view/status/test_model.py",
    "view/terminal.py": "view/status/test_model.py",
    "view/top/acts.py": "view/top/test_keys.py",
    "view/top/app.py": "view/top/test_screens.py",
    "view/top/dialogs.py": "view/top/test_keys.py",
    "view/top/entries.py": "view/top/test_screens.py",
    "view/top/feed.py": "view/top/test_keys.py",
    "view/top/grid.py": "view/top/test_screens.py",
    "view/top/lines.py": "view/top/test_screens.py",
    "view/top/log_screen.py": "view/top/test_screens.py",
    "view/top/look.py": "view/top/test_screens.py",
    "view/top/run_keys.py": "view/top/test_screens.py",
    "view/top/run_rows.py": "view/top/test_screens.py",
    "view/top/run_screen.py": "view/top/test_screens.py",
    "view/top/runs_screen.py": "view/top/test_screens.py",
    "view/top/wish.py": "view/top/test_keys.py",
    "view/tmux/attach.py": "view/tmux/test_session.py",
    "view/tmux/in_pod.py": "k8s/test_pod_logs.py",
    "view/tmux/run_panes.py": "e2e/test_attach.py",
    "view/tmux/server.py": "view/tmux/test_session.py",
    "workload/rollout/policy.py": "workload/test_orchestrator.py",
    "workload/environments/chat.py": "workload/environments/test_environment.py",
    "workload/environments/client.py": "workload/environments/test_environment.py",
    "workload/tasks/split.py": "workload/tasks/test_files.py",
    "workload/rollout/players.py": "workload/test_orchestrator.py",
    "workload/rollout/playing.py": "workload/test_orchestrator.py",
    "workload/rollout/texts.py": "workload/test_orchestrator.py",
    "workload/rollout/threads.py": "workload/rollout/test_scoring.py",
    "workload/tasks/task.py": "workload/tasks/test_letters.py",
    "workload/models/tokenizer.py": "workload/test_orchestrator.py",
    "workload/entry.py": "workload/training/test_rl_trainer.py",
    "workload/inference.py": "e2e/test_rl.py",
    "workload/metric_names.py": "workload/training/test_sft_trainer.py",
    "config/serving.py": "plan/serving/test_vllm.py",
    "workload/rl.py": "e2e/test_rl.py",
    "vllm_access/launch_vllm_worker.py": "e2e/test_vllm.py",
    "workload/serving/engine.py": "workload/serving/test_server.py",
    "workload/serving/protocol.py": "workload/serving/test_http.py",
    "workload/sft.py": "e2e/test_sft.py",
    "workload/training/checkpoint.py": "workload/training/test_sft_trainer.py",
    "workload/training/lora.py": "workload/training/test_parallel.py",
}
"""Modules without a test file at the mirrored place, and the file whose tests need them."""

MACHINE = {"subprocess", "socket", "os", "libtmux", "torch", "time", "random", "datetime", "threading", "asyncio"}
HEAVY = {"torch", "wandb", "libtmux", "rich", "numpy", "verifiers", "textual"}
LAUNCHER = {"torch", "wandb", "libtmux", "rich", "textual"}
FORBIDDEN = {
    "config": LAUNCHER | {"subprocess", "socket", "os", "time", "random"},
    "options": LAUNCHER | {"subprocess", "socket", "time", "random"},
    "plan": MACHINE | {"wandb", "rich"},
    **dict.fromkeys(("processes", "machine", "failure", "nodes", "runs", "control"), LAUNCHER),
    **dict.fromkeys(("slurm", "k8s", "jobs", "stacks", "supervisor"), LAUNCHER),
    "view": {"torch", "wandb"},
    "workload": {"libtmux", "rich", "subprocess"},
}
PRINTING = {"cli", "commands", "completion", "session", "view", "doctor", "__main__", "workload"}
MAY_PRINT = {
    "options/entry.py",  # the command line of the workload's modules
    "jobs/submit.py",  # what the scheduler said
    "machine/hub_program.py",  # a program of its own
    "slurm/lost_nodes.py",  # a program of its own
    "slurm/outcome.py",  # a program of its own
    "slurm/time_limit.py",  # a program of its own
}


def all_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def files(room: str) -> list[Path]:
    return sorted((PACKAGE / room).rglob("*.py")) or [PACKAGE / f"{room}.py"]


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


def floor_of(parts: tuple[str, ...], floors: tuple[str, ...]) -> str:
    return parts[0] if parts and parts[0] in floors else ""


def test_every_room_has_its_place_in_the_order() -> None:
    there = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in all_files()}
    assert there == {*ROOMS, *BESIDE}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_never_imports_a_later_one(room: str) -> None:
    later = {*ROOMS[ROOMS.index(room) + 1 :], "workload"}
    reached = {(path.name, module) for path in files(room) for module in imports(path) if room_of(module) in later}
    assert reached == set()


@pytest.mark.parametrize("room", FLOORS)
def test_a_folder_of_a_room_never_imports_a_later_one(room: str) -> None:
    floors = FLOORS[room]
    upwards = set()
    for path in files(room):
        own = floors.index(floor_of(path.relative_to(PACKAGE / room).parts, floors))
        for module in imports(path):
            parts = module.split(".")
            if parts[:2] == ["launcher", room] and floors.index(floor_of(tuple(parts[2:]), floors)) > own:
                upwards.add((path.name, module))
    assert upwards == set()


def test_no_module_imports_itself_by_way_of_others() -> None:
    names = {".".join(("launcher", *path.relative_to(PACKAGE).with_suffix("").parts)): path for path in all_files()}
    left = {name: {module for module in imports(path) if module in names} for name, path in names.items()}
    while free := {name for name, needs in left.items() if not needs & left.keys()}:
        left = {name: needs for name, needs in left.items() if name not in free}
    assert left == {}


def test_no_folder_is_crowded_and_no_room_holds_too_much() -> None:
    lines = {path: len(path.read_text().splitlines()) for path in all_files()}
    for folder in {path.parent for path in lines}:
        inside = [path for path in lines if path.parent == folder and path.name != "__init__.py"]
        assert len(inside) <= (MOST_COMMANDS if folder.name == "commands" else MOST_FILES), folder
        assert sum(lines[path] for path in inside) <= LARGEST * sum(lines.values()), folder


def test_no_module_is_too_long() -> None:
    assert [path for path in all_files() if len(path.read_text().splitlines()) > MOST_LINES] == []


@pytest.mark.parametrize("room", FORBIDDEN)
def test_a_room_touches_only_what_is_its_own(room: str) -> None:
    touched = {(path.name, module) for path in files(room) for module in imports(path)}
    assert {(name, module) for name, module in touched if module.split(".")[0] in FORBIDDEN[room]} == set()


def test_views_never_touch_processes_nor_know_who_starts_them() -> None:
    starting = {f"launcher.processes.{name}" for name in ("spawn", "guard_fork", "guard", "watcher")}
    starting |= {"launcher.supervisor.supervisor", "launcher.runs.directory", "launcher.machine.probe"}
    killing = {f"launcher.processes.process_tree.{name}" for name in ("kill_quietly", "signal_group", "sweep")}
    reached = {(path.name, module) for path in files("view") for module in imports(path)}
    assert {(name, module) for name, module in reached if module in starting | killing} == set()


@pytest.mark.parametrize("path", all_files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nobody_but_the_views_and_the_command_line_prints(path: Path) -> None:
    name = str(path.relative_to(PACKAGE))
    calls = [
        node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name) and node.id == "print"
    ]
    assert name.split("/")[0].removesuffix(".py") in PRINTING or name in MAY_PRINT or calls == []


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
        HELP.format(arguments=["rl", "--dry-run", "--task", "verifiers:textarena"]),
        HELP.format(arguments=["status"]),
    ],
    ids=[
        "import launcher.cli",
        "import launcher",
        "launch --help",
        "launch rl --help",
        "launch sft --dry-run",
        "launch rl --dry-run --task verifiers:…",
        "launch status",
    ],
)
def test_heavy_libraries_are_not_loaded_before_they_are_used(code: str) -> None:
    assert loaded_by(code) & HEAVY == set()


def test_the_help_of_all_commands_loads_no_models() -> None:
    assert "pydantic" not in loaded_by(HELP.format(arguments=["--help"]))


def test_the_session_loads_neither_torch_nor_wandb() -> None:
    assert loaded_by("import launcher.session") & {"torch", "wandb", "libtmux"} == set()


@pytest.mark.parametrize("name", ["guard", "watcher"])
def test_guard_and_watcher_need_nothing_but_the_standard_library(name: str) -> None:
    modules = {module.split(".")[0] for module in imports(PACKAGE / "processes" / f"{name}.py")}
    assert modules <= set(sys.stdlib_module_names)


def test_files_that_others_may_have_planted_have_one_opener() -> None:
    careful = {path.name for path in PACKAGE.rglob("*.py") if "O_NOFOLLOW" in path.read_text()}
    assert careful == {"files.py"}


def test_every_module_has_its_tests_at_the_mirrored_place_or_in_the_file_that_is_named() -> None:
    tests = PACKAGE.parent / "tests"
    modules = [path.relative_to(PACKAGE) for path in all_files() if path.name != "__init__.py"]
    without = {str(module) for module in modules if not (tests / module.parent / f"test_{module.name}").is_file()}
    assert TESTED_ELSEWHERE.keys() == without
    assert [name for name in TESTED_ELSEWHERE.values() if not (tests / name).is_file()] == []
