"""Our plugin for torchrun. This folder on PYTHONPATH gives the plugin to a Python without our package."""

from launcher.torchrun_logs.launch_torchrun_logs import LaunchLogsSpecs

__all__ = ["LaunchLogsSpecs"]
