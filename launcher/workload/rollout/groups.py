"""Groups of samples of one prompt: their rewards, and how much better than its group each of them is."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Any

from launcher.config.rollout import Advantage
from launcher.workload.rollout.handover import Sample
from launcher.workload.tasks import Prompt

SOLVED = 1.0  # the reward from which on a sample counts as solved
TINY = 1e-4  # in place of a standard deviation of zero


@dataclass(frozen=True)
class RolloutGroup:
    """The samples of one prompt; its lists are of one length."""

    index: int  # of the prompt, in the task's stream
    prompt: Prompt
    samples: list[Sample]
    texts: list[str]
    cut: list[bool]  # true for a sample that had no room for its end
    rewards: list[float]

    def advantages(self, kind: Advantage) -> list[float]:
        """How much better than the group's mean each reward is.

        `std`: in the group's standard deviations (GRPO: Shao et al., 2024, arXiv 2402.03300, section 4.1.2).
        `mean`: as it is, so that groups which are nearly solved or hopeless do not weigh more than others
        (Dr. GRPO: Liu et al., 2025, arXiv 2503.20783, section 3.1).
        """
        mean = fmean(self.rewards)
        unit = pstdev(self.rewards) + TINY if kind == "std" else 1.0
        return [(reward - mean) / unit for reward in self.rewards]

    @property
    def policy_step(self) -> int:
        """Updates of the oldest policy that sampled any of it."""
        return min(sample.policy_step for sample in self.samples)

    @property
    def is_solved(self) -> bool:
        return min(self.rewards) >= SOLVED

    @property
    def has_signal(self) -> bool:
        """Whether there is anything to learn from it."""
        return min(self.rewards) < max(self.rewards)

    def describe(self, kind: Advantage) -> list[dict[str, Any]]:
        """The samples, for people to read."""
        prompt = prompt_text(self.prompt)
        rows = zip(self.texts, self.rewards, self.advantages(kind), self.samples, strict=True)
        return [
            {
                "problem": self.index,
                "prompt": prompt,
                "completion": text,
                "reward": reward,
                "advantage": advantage,
                "tokens": len(sample.completion),
                "policy_step": sample.policy_step,
            }
            for text, reward, advantage, sample in rows
        ]


def prompt_text(prompt: Prompt) -> str:
    """A prompt, for people to read."""
    if isinstance(prompt, str):
        return prompt
    return "\n".join(f"{message['role']}: {message['content']}" for message in prompt)


def group_metrics(groups: Sequence[RolloutGroup]) -> dict[str, float]:
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
        "completion/cut": fmean(is_cut for group in groups for is_cut in group.cut),
    }


def evaluation_metrics(groups: Sequence[RolloutGroup], name: str = "") -> dict[str, float]:
    """average@k and pass@k of a set, where k is the size of its groups; `name` is empty for the task's own."""
    prefix = f"evaluation/{name}/" if name else "evaluation/"
    return {
        f"{prefix}reward": fmean(reward for group in groups for reward in group.rewards),
        f"{prefix}solved": fmean(max(group.rewards) >= SOLVED for group in groups),
        f"{prefix}cut": fmean(is_cut for group in groups for is_cut in group.cut),
    }
