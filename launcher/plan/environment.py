"""What a child's environment has more, and less, than ours."""

from collections.abc import Mapping
from pathlib import Path

from launcher.config.run import RunConfig
from launcher.config.serving import INFERENCE_TOKEN
from launcher.plan.spec import Machine, ProcessSpec
from launcher.rundir import RunDir

CONFUSING = ("RANK", "WORLD_SIZE", "LOCAL_", "GROUP_", "ROLE_", "MASTER_", "TORCHELASTIC_", "PET_", "LAUNCH_")
"""Names, and beginnings of names, of variables that another launcher's job left behind and that confuse a child."""


def strays(variables: frozenset[str]) -> tuple[str, ...]:
    """The variables that no child inherits."""
    kept = {INFERENCE_TOKEN}  # of a server that runs elsewhere
    found = [name for name in variables - kept if any(_matches(name, pattern) for pattern in CONFUSING)]
    return tuple(sorted(found))


def _matches(name: str, pattern: str) -> bool:
    return name.startswith(pattern) if pattern.endswith("_") else name == pattern


def additions(
    component: str, config: RunConfig, machine: Machine, run: RunDir, gpus: tuple[str, ...]
) -> dict[str, str]:
    """What every child is told: where it belongs, and its GPUs where the machine has any."""
    env = {
        "PYTHONUNBUFFERED": "1",
        "LAUNCH_COMPONENT": component,
        "LAUNCH_RUN_DIR": str(run.root),
        "LAUNCH_ATTEMPT": str(run.attempt),
        "LAUNCH_LOG_LEVEL": config.log.level,
    }
    if run.node is not None:
        env["LAUNCH_NODE"] = str(run.node)
    if config.log.json_lines:
        env["LAUNCH_LOG_JSON"] = "1"
    if machine.gpus:
        env["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    return env


def flight_recorder(machine: Machine, run: RunDir) -> dict[str, str]:
    """Has torch remember each rank's newest collectives and, where there are GPUs, write them down when NCCL times out.

    Whatever of it the user has set already stays as it is.
    """
    env = {"TORCH_FR_BUFFER_SIZE": "2000"}
    if machine.gpus:
        records = str(run.flight_record(""))
        env |= {"TORCH_NCCL_DUMP_ON_TIMEOUT": "1", "TORCH_FR_DUMP_TEMP_FILE": records}
        env |= {"TORCH_NCCL_DEBUG_INFO_PIPE_FILE": records}  # a byte in <records><rank>.pipe asks for a dump
    return {name: value for name, value in env.items() if name not in machine.variables}


def own_python(machine: Machine, python: str, own: Mapping[str, str]) -> dict[str, str]:
    """The programs of a component's own Python come first on its PATH; `own` are the user's settings, which win."""
    return {"PATH": _joined(str(Path(python).parent), machine.search_paths.get("PATH"))} if "PATH" not in own else {}


def foreign_torchrun(machine: Machine, own: Mapping[str, str]) -> dict[str, str]:
    """How a torchrun that lacks our package finds our layout of its logs, and what its ranks find in place of that."""
    given = own.get("PYTHONPATH", machine.search_paths.get("PYTHONPATH", ""))
    return {"PYTHONPATH": _joined(str(machine.torchrun_logs), given), "LAUNCH_PYTHONPATH": given}


def _joined(first: str, rest: str | None) -> str:
    return f"{first}:{rest}" if rest else first


def threads(machine: Machine, processes: int) -> dict[str, str]:
    """An even share of the cores for each computing process, unless the user has said otherwise."""
    if "OMP_NUM_THREADS" in machine.variables:
        return {}
    return {"OMP_NUM_THREADS": str(max(1, machine.cpus // processes))}


def child_environment(spec: ProcessSpec, environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` without the variables that the child must not inherit, plus its own."""
    kept = {name: value for name, value in environment.items() if name not in spec.unset}
    return {**kept, **spec.env}
