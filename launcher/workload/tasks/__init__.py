"""What is learned: prompts, and how good a completion is."""

from launcher.workload.tasks.load import load_task
from launcher.workload.tasks.task import Prompt, Task

__all__ = ["Prompt", "Task", "load_task"]
