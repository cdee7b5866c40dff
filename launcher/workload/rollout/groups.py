"""Groups of samples of one prompt: their rewards, and how much better than its group each of them is."""

import math
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Any

from launcher.errors import UserError
from launcher.workload.rollout.handover import Sample
from launcher.workload.task import Task
from launcher.workload.tokens import decode

SOLVED = 1.0  # the reward from which on a sample counts as solved
TINY = 1e-4  # in place of a standard deviation of zero


@dataclass(frozen=True)
class RolloutGroup:
    """The samples of one prompt."""

    prompt: str
    samples: list[Sample]
    rewards: list[float]  # one for each sample

    @property
    def advantages(self) -> list[float]:
        """Each reward less the group's mean, in standard deviations (GRPO: Shao et al., 2024, section 4.1.2)."""
        mean, deviation = fmean(self.rewards), pstdev(self.rewards)
        return [(reward - mean) / (deviation + TINY) for reward in self.rewards]

    @property
    def is_solved(self) -> bool:
        return min(self.rewards) >= SOLVED

    @property
    def has_signal(self) -> bool:
        """Whether there is anything to learn from it."""
        return min(self.rewards) < max(self.rewards)

    def describe(self) -> list[dict[str, Any]]:
        """The samples, for a table that people read."""
        texts = [decode(sample.completion) for sample in self.samples]
        rows = zip(texts, self.rewards, self.advantages, strict=True)
        of_all = {"problem": self.prompt, "prompt": self.prompt}
        return [of_all | {"completion": text, "reward": reward, "advantage": gain} for text, reward, gain in rows]


def score(task: Task, prompt: str, samples: list[Sample]) -> RolloutGroup:
    """A prompt's samples with the rewards that the task gives them. Raises UserError when one is no finite number."""
    rewards = [float(task.reward(prompt, decode(sample.completion))) for sample in samples]
    if not all(map(math.isfinite, rewards)):
        raise UserError(f"the task's reward for the prompt {prompt!r} is no finite number: {rewards}")
    return RolloutGroup(prompt, samples, rewards)


def group_metrics(groups: list[RolloutGroup]) -> dict[str, float]:
    """The metrics of one step's groups."""
    rewards = [reward for group in groups for reward in group.rewards]
    return {
        "reward/mean": fmean(rewards),
        "reward/std": pstdev(rewards),
        "reward/min": min(rewards),
        "reward/max": max(rewards),
        "groups/solved": fmean(group.is_solved for group in groups),
        "groups/without_signal": fmean(not group.has_signal for group in groups),
        "completion/length": fmean(len(sample.completion) for group in groups for sample in group.samples),
    }
