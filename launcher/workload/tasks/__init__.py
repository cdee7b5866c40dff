"""What is learned: prompts, and how good a completion is."""

from launcher.borders.problems import Prompt
from launcher.workload.tasks.load import load_task
from launcher.workload.tasks.task import Task

__all__ = ["Prompt", "Task", "load_task"]
