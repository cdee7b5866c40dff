"""`launch doctor`."""

import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from launcher.commands.common import typer_command
from launcher.doctor.doctor import examine
from launcher.doctor.text import check_tmux, doctor_text
from launcher.view.terminal import shows_colours


def doctor(as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False) -> int:
    """Check what this machine has and lacks for a run, and how to fix it. Exit code 1 if no run can start here."""
    checks = examine([check_tmux])
    text = (
        json.dumps([asdict(check) for check in checks], indent=1) + "\n"
        if as_json
        else doctor_text(checks, shows_colours())
    )
    sys.stdout.write(text)
    return 1 if any(check.state == "fail" for check in checks) else 0


command = typer_command(doctor)
