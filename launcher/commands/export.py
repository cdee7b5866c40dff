"""`launch export`."""

import io
import os
import tarfile
import time
from pathlib import Path
from typing import Annotated

import typer

from launcher.borders.screen import in_one_line, quoted
from launcher.commands.common import RunArgument, typer_command
from launcher.errors import UserError
from launcher.numbers import size
from launcher.runs.choice import find_run
from launcher.view.status.export import contents

PRIVATE = 0o600


def export(
    run: RunArgument = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="default: ./<run>.tar.gz")
    ] = None,
) -> int:
    """One archive for a bug report: state, versions, configuration, ends of logs, stacks, failure; secrets masked."""
    found, state = find_run(run, "export")
    target = output or Path(f"{state.name}.tar.gz")
    if os.path.lexists(target):
        raise UserError(f"{target}: is there already", "name another file with --output, or remove it")
    files = list(contents(found, state, os.environ))
    try:
        _write(target, state.name, files)
    except OSError as error:
        raise UserError(f"{target}: cannot be written: {error.strerror}", "name another file with --output") from None
    for name, content in files:
        print(in_one_line(f"  {size(len(content)):>8}  {name}"))
    print(in_one_line(f"{target}: {size(target.stat().st_size)}, {len(files)} files"))
    print(f"secrets that could be recognized are masked; look at it before you send it: tar xzf {quoted(str(target))}")
    return 0


def _write(target: Path, name: str, files: list[tuple[str, bytes]]) -> None:
    """All of it or nothing. Raises OSError, also if the file is there by now."""
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE), "wb") as file:
        try:
            with tarfile.open(fileobj=file, mode="w:gz") as archive:
                for path, content in files:
                    member = tarfile.TarInfo(f"{name}/{path}")
                    member.size, member.mtime, member.mode = len(content), int(time.time()), 0o644
                    archive.addfile(member, io.BytesIO(content))
        except BaseException:
            target.unlink(missing_ok=True)
            raise


command = typer_command(export)
