"""`launch rl`."""

from launcher.commands.starting.run_command import RUN_OPTIONS, run_command, start_run

command = run_command("rl", start_run, "launch rl: trainer (under torchrun) + orchestrator + inference", RUN_OPTIONS)
