"""`launch train`."""

from launcher.commands.starting.run_command import RUN_OPTIONS, run_command, start_run

HELP = "launch train: any program under torchrun, with panes, logs, services and resume"

command = run_command("train", start_run, HELP, RUN_OPTIONS, takes_program=True)
