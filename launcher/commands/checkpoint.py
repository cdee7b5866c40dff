"""`launch checkpoint`."""

from launcher.borders.screen import in_one_line, quoted
from launcher.commands.common import OnlyRunArgument, TrustOption, typer_command
from launcher.control.checkpoint import checkpoint_now
from launcher.runs.choice import find_run
from launcher.runs.stop import check_mine
from launcher.runs.trust import check_trusted


def checkpoint(run: OnlyRunArgument = None, trust: TrustOption = False) -> int:
    """Have the trainer of a live run write a checkpoint after its present step, and wait for it."""
    found, state = find_run(run, "checkpoint")
    check_mine(found, state, f"checkpoint {quoted(str(found.root))}")
    check_trusted(found, state.name, f"checkpoint {state.name}", trust)

    def say() -> None:
        print(in_one_line(f"{state.name}: waiting for the end of a step ..."), flush=True)

    print(in_one_line(f"checkpoint {checkpoint_now(found, state, say)}"))
    return 0


command = typer_command(checkpoint)
