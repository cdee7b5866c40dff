"""`launch sft`."""

from launcher.commands.starting.run_command import RUN_OPTIONS, run_command, start_run

HELP = "launch sft: the trainer alone, under torchrun"

command = run_command("sft", start_run, HELP, RUN_OPTIONS, takes_program=True)
