"""`launch doctor`."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from launcher.borders.screen import printable
from launcher.commands.common import seconds_of, typer_command
from launcher.doctor.check import Check
from launcher.doctor.doctor import examine
from launcher.doctor.text import check_tmux, doctor_text
from launcher.errors import UserError
from launcher.view.terminal import shows_colours


def doctor(
    nodes: Annotated[
        int | None, typer.Option("--nodes", "--nnodes", min=1, help="check so many nodes together; type it on each")
    ] = None,
    node_rank: Annotated[int | None, typer.Option(min=0, help="this node's rank; in srun it is SLURM_NODEID")] = None,
    rdzv_endpoint: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="node 0, as for a run")] = None,
    join_secret_file: Annotated[Path | None, typer.Option(help="file with a secret that all nodes share")] = None,
    join_timeout: Annotated[str, typer.Option(metavar="DURATION", help="how long to wait for the others")] = "2m",
    output_dir: Annotated[Path, typer.Option(help="where runs would be: is it shared?")] = Path("outputs"),
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
) -> int:
    """Check what this machine has and lacks for a run, and how to fix it. Exit code 1 if no run can start here.

    With --nodes, all nodes of a run check each other: versions, GPUs, clocks, the shared directory, ports, and an
    all-reduce of 64 MB between each two of them.
    """
    if nodes is None:
        given = {"--node-rank": node_rank, "--rdzv-endpoint": rdzv_endpoint, "--join-secret-file": join_secret_file}
        if typed := [flag for flag, value in given.items() if value is not None]:
            raise UserError(f"{typed[0]} is for several nodes", "give their number: launch doctor --nodes N")
        return _show(examine([check_tmux]), as_json)

    from launcher.doctor.nodes.examine import Asked, examine_nodes

    seconds, out = seconds_of("--join-timeout", join_timeout), sys.stderr if as_json else sys.stdout
    asked = Asked(nodes, node_rank, rdzv_endpoint, join_secret_file, seconds, output_dir)

    def say(line: str) -> None:
        print(printable(line), file=out, flush=True)

    return examine_nodes(asked, say, lambda checks: _show(checks, as_json))


def _show(checks: list[Check], as_json: bool) -> int:
    text = (
        json.dumps([asdict(check) for check in checks], indent=1) + "\n"
        if as_json
        else doctor_text(checks, shows_colours())
    )
    sys.stdout.write(text)
    sys.stdout.flush()
    return 1 if any(check.state == "fail" for check in checks) else 0


command = typer_command(doctor)
