"""Files beside the run's directory that the pods need: they have those on their volumes, and those of the image."""

import os.path
from collections.abc import Iterator
from pathlib import Path

from launcher.borders.screen import quoted
from launcher.config.component import ComponentConfig, TorchrunComponentConfig
from launcher.config.jobs.k8s import K8sConfig, Volume
from launcher.config.run import Config, started_processes
from launcher.errors import UserError
from launcher.plan.spec import Machine


def volume_below(k8s: K8sConfig, path: Path) -> Volume | None:
    """The volume that has the path in the pods: the one that is mounted nearest to it."""
    path = Path(os.path.normpath(path))
    found = [each for each in k8s.mounts.values() if path.is_relative_to(each.path)]
    return max(found, key=lambda each: len(each.path.parts), default=None)


def _found_below(k8s: K8sConfig, cwd: Path, path: Path) -> Volume | None:
    """The volume by which the pods find the path. They have our directory if it is on one, or above one."""
    has_ours = volume_below(k8s, cwd) or any(each.path.is_relative_to(cwd) for each in k8s.mounts.values())
    return volume_below(k8s, cwd / path) if has_ours or path.is_absolute() else None


def check_files(config: Config, machine: Machine) -> None:
    """Raises UserError for a file with variables or the nodes' secret that is on no volume: no image has them."""
    volumes = ", ".join(str(volume.path) for volume in config.k8s.mounts.values())
    files = [(_flag(config, name, "env-file"), own.env_file) for name, own in started_processes(config).items()]
    for flag, path in (*files, ("--join-secret-file", config.join_secret_file)):
        if path is not None and not _found_below(config.k8s, machine.cwd, path):
            if volume_below(config.k8s, machine.cwd / path):
                what = f"{flag} {quoted(str(path))}: this directory is on no volume, so the pods have another"
                raise UserError(what, f"type the whole path: {quoted(os.path.normpath(machine.cwd / path))}")
            instead = "" if flag == "--join-secret-file" else ", or put its variables into a Secret: --k8s.secrets NAME"
            what = f"{flag} {quoted(str(path))}: the file is on no volume of the pods"
            raise UserError(what, f"move it to one ({volumes}){instead}")


def notes_of_files(config: Config, machine: Machine) -> Iterator[str]:
    """What the image must have, and what is lost with the pods."""
    alone = [text for text, path in _read(config, machine) if not _found_below(config.k8s, machine.cwd, path)]
    if alone:
        yield f"on no volume, so the pods' image must have: {', '.join(alone)}"
    directory = config.trainer.torchrun.log_dir
    volume = volume_below(config.k8s, machine.cwd / directory) if directory else None
    if directory and (volume is None or volume.read_only):
        yield f"--log-dir {quoted(str(directory))} is on no volume that the pods can write to: it is lost with them"


def _read(config: Config, machine: Machine) -> Iterator[tuple[str, Path]]:
    """What is read of the user's, as it was typed, and where it is."""
    from launcher.plan.program import file_to_learn  # `launch status` needs none of that

    if machine.model_path.startswith("/"):
        yield f"--model {quoted(config.starting_model)}", Path(machine.model_path)
    for name, process in started_processes(config).items():
        here = process.cwd or Path()
        if process.cwd is not None:
            yield f"{_flag(config, name, 'cwd')} {quoted(str(process.cwd))}", process.cwd
        if isinstance(process, ComponentConfig) and process.script is not None and not _is_on_path(process):
            yield f"{_flag(config, name, 'script')} {quoted(process.script)}", here / process.script
    if data := file_to_learn(config):
        yield f"--data {quoted(str(data))}", data
    for option, task in config.tasks.items():
        if task.file:
            yield f"--{option.replace('_', '-')} {quoted(task.name)}", task.file


def _is_on_path(process: ComponentConfig) -> bool:
    """Whether the program is looked for on the PATH."""
    starts_alone = isinstance(process, TorchrunComponentConfig) and process.torchrun.no_python
    return starts_alone and "/" not in (process.script or "")


def _flag(config: Config, name: str, field: str) -> str:
    return f"--{'services.' if name in config.services else ''}{name}.{field}"
