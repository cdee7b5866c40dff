"""`launch sft`."""

from launcher.commands.starting.run_command import RUN_OPTIONS, run_command, start_run

command = run_command("sft", start_run, "launch sft: the trainer alone, under torchrun", RUN_OPTIONS)
