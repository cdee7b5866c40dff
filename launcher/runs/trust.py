"""Tells whether a run's directory can be trusted: everybody who can write there decides what is executed."""

import grp
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

from launcher.borders.screen import quoted
from launcher.errors import UserError
from launcher.home import user_name
from launcher.rundir import RunDir
from launcher.runs.registry import call_name


def check_trusted(run: RunDir, name: str, command: str, trust: bool) -> None:
    """Raises UserError if another user owns, or can write to, the directory, `nodes/` or a file that we act on."""
    if trust:
        return
    found = next(((path, trouble) for path in _believed(run) if (trouble := _trouble(path))), None)
    if found is None:
        return
    path, trouble = found
    typed = call_name(run.root, name)
    look = f"look at it with: launch status {typed}" if run.state.exists() else "name another with --output-dir"
    hint = f"{look}\n  if you trust this user, add --trust to: launch {command}"
    if "writable" in trouble:
        hint = f"close it with: chmod -R go-w {quoted(str(run.root))}\n  or add --trust to: launch {command}"
    raise UserError(f"{path} {trouble}, and decides what launch {command} does", hint)


def _believed(run: RunDir) -> Iterator[Path]:
    """The existing files that decide what is signalled, opened and started."""
    nodes = [run.on(None).all_nodes, *sorted(run.all_nodes.glob("node_*"))]
    for directory in (run.root, *nodes):
        configs = run.component_config("any").parent.name  # read by the components
        for path in (directory, directory / run.state.name, directory / run.config.name, directory / configs):
            if os.path.lexists(path):
                yield path


def _trouble(path: Path) -> str | None:
    """Who else owns the path or can write there. None if only this user can."""
    try:
        for status in (path.lstat(), path.stat()):
            if status.st_uid != os.geteuid():
                return f"is {user_name(status.st_uid)}'s"
    except OSError as error:
        return f"cannot be looked at ({error.strerror})"
    if status.st_mode & stat.S_IWOTH:
        return "is writable by everybody"
    if status.st_mode & stat.S_IWGRP:
        return _trouble_with_group(path, status)
    return None


def _trouble_with_group(path: Path, status: os.stat_result) -> str | None:
    if "system.posix_acl_access" in _attributes(path):  # the group bits are then the ACL's mask
        return "is writable by others (see: getfacl)"
    if is_private(status.st_gid, status.st_uid):
        return None
    return f"is writable by the group {_group_name(status.st_gid)}"


def is_private(group: int, user: int) -> bool:
    """Whether the group is the user's private one: same name or number, no other members. umask 002 relies on it."""
    try:
        known = grp.getgrgid(group)
    except KeyError:
        return group == user
    try:
        name = pwd.getpwuid(user).pw_name
    except KeyError:
        return group == user and not known.gr_mem
    return (known.gr_name == name or group == user) and set(known.gr_mem) <= {name}


def _group_name(group: int) -> str:
    try:
        return grp.getgrgid(group).gr_name
    except KeyError:
        return str(group)


def _attributes(path: Path) -> list[str]:
    try:
        return os.listxattr(path)
    except OSError:  # a file system without attributes
        return []
