"""The environment of a component: variables that are added to ours, and variables that are removed."""

from collections.abc import Mapping
from pathlib import Path

from launcher.config.run import RunConfig
from launcher.config.serving import INFERENCE_TOKEN
from launcher.plan.spec import Machine, ProcessSpec
from launcher.rundir import RunDir

CONFUSING = ("RANK", "WORLD_SIZE", "LOCAL_", "GROUP_", "ROLE_", "MASTER_", "TORCHELASTIC_", "PET_", "LAUNCH_")
"""Variables, or prefixes of them, that another launcher may have set and that would mislead a component."""

OFFLINE = {"HF_HUB_OFFLINE": "1"}
"""Tells the libraries of the Hugging Face hub to use what is in its cache."""


def strays(variables: frozenset[str]) -> tuple[str, ...]:
    """The variables that no child inherits."""
    kept = {INFERENCE_TOKEN}  # for a server that runs elsewhere
    found = [name for name in variables - kept if any(_matches(name, pattern) for pattern in CONFUSING)]
    return tuple(sorted(found))


def _matches(name: str, pattern: str) -> bool:
    return name.startswith(pattern) if pattern.endswith("_") else name == pattern


def additions(
    component: str, config: RunConfig, machine: Machine, run: RunDir, gpus: tuple[str, ...]
) -> dict[str, str]:
    """Variables that every component gets: its name, its run, and its GPUs if the machine has any."""
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
    """Makes torch record each rank's newest collectives and, with GPUs, write them to files when NCCL times out.

    Variables that the user has set are left as they are.
    """
    env = {"TORCH_FR_BUFFER_SIZE": "2000"}
    if machine.gpus:
        records = str(run.flight_record(""))
        env |= {"TORCH_NCCL_DUMP_ON_TIMEOUT": "1", "TORCH_FR_DUMP_TEMP_FILE": records}
        env |= {"TORCH_NCCL_DEBUG_INFO_PIPE_FILE": records}  # a byte in <records><rank>.pipe asks for a dump
    return {name: value for name, value in env.items() if name not in machine.variables}


def own_python(machine: Machine, python: str, own: Mapping[str, str]) -> dict[str, str]:
    """Puts the programs of a component's own Python first on its PATH, unless the user has set it in `own`."""
    return {"PATH": joined(str(Path(python).parent), machine.search_paths.get("PATH"))} if "PATH" not in own else {}


def foreign_torchrun(machine: Machine, own: Mapping[str, str]) -> dict[str, str]:
    """Lets a torchrun without our package import our log layout. Its ranks get their old PYTHONPATH back."""
    given = own.get("PYTHONPATH", machine.search_paths.get("PYTHONPATH", ""))
    return {"PYTHONPATH": joined(str(machine.torchrun_logs), given), "LAUNCH_PYTHONPATH": given}


def joined(first: str, rest: str | None) -> str:
    """A search path with one more directory in front."""
    return f"{first}:{rest}" if rest else first


def threads(machine: Machine, processes: int) -> dict[str, str]:
    """An equal share of the cores for each computing process, unless the user has set OMP_NUM_THREADS."""
    if "OMP_NUM_THREADS" in machine.variables:
        return {}
    return {"OMP_NUM_THREADS": str(max(1, machine.cpus // processes))}


def child_environment(spec: ProcessSpec, environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` without the variables that the child must not inherit, plus its own."""
    kept = {name: value for name, value in environment.items() if name not in spec.unset}
    return {**kept, **spec.env}
