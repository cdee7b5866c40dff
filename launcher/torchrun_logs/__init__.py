"""What torchrun loads of us. On PYTHONPATH this folder gives it to a Python that does not have our package."""

from launcher.torchrun_logs.launch_torchrun_logs import LaunchLogsSpecs

__all__ = ["LaunchLogsSpecs"]
