"""Groups of rollouts of one prompt: their rewards, and how much better than its group each of them is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean, pstdev
from typing import Any

from launcher.config.rollout import Advantage
from launcher.workload.rollout.handover import Sample
from launcher.workload.tasks import Prompt

SOLVED = 1.0  # the reward from which on a sample counts as solved
TINY = 1e-4  # in place of a standard deviation of zero


@dataclass(frozen=True)
class Rollout:
    """One try at a prompt, of one turn or several."""

    sequences: list[Sample]  # one, unless the conversation was rewritten on the way
    text: str
    is_cut: bool  # whether a completion had no room for its end
    reward: float
    metrics: dict[str, float] = field(default_factory=dict)  # what else the task says of it

    @property
    def policy_step(self) -> int:
        """Updates of the oldest policy that sampled any of it."""
        return min(sequence.policy_step for sequence in self.sequences)

    @property
    def length(self) -> int:
        """Sampled tokens."""
        return sum(len(sequence.completion) for sequence in self.sequences)


@dataclass(frozen=True)
class RolloutGroup:
    """The rollouts of one prompt."""

    index: int  # of the prompt, in the task's stream
    prompt: Prompt
    rollouts: list[Rollout]

    @property
    def rewards(self) -> list[float]:
        return [rollout.reward for rollout in self.rollouts]

    def advantages(self, kind: Advantage) -> list[float]:
        """How much better than the group's mean each reward is.

        `std`: in the group's standard deviations (GRPO: Shao et al., 2024, arXiv 2402.03300, section 4.1.2).
        `mean`: as it is, so that groups which are nearly solved or hopeless do not weigh more than others
        (Dr. GRPO: Liu et al., 2025, arXiv 2503.20783, section 3.1).
        """
        rewards = self.rewards
        mean = fmean(rewards)
        unit = pstdev(rewards) + TINY if kind == "std" else 1.0
        return [(reward - mean) / unit for reward in rewards]

    def learned(self, kind: Advantage) -> Iterator[tuple[Sample, float]]:
        """Every sequence, with the advantage of its rollout."""
        for rollout, advantage in zip(self.rollouts, self.advantages(kind), strict=True):
            yield from ((sequence, advantage) for sequence in rollout.sequences)

    @property
    def policy_step(self) -> int:
        """Updates of the oldest policy that sampled any of it."""
        return min(rollout.policy_step for rollout in self.rollouts)

    @property
    def is_solved(self) -> bool:
        return min(self.rewards) >= SOLVED

    @property
    def has_signal(self) -> bool:
        """Whether there is anything to learn from it."""
        return min(self.rewards) < max(self.rewards)

    def describe(self, kind: Advantage) -> list[dict[str, Any]]:
        """The rollouts, for people to read."""
        prompt = prompt_text(self.prompt)
        return [
            {
                "problem": self.index,
                "prompt": prompt,
                "completion": rollout.text,
                "reward": rollout.reward,
                "advantage": advantage,
                "tokens": rollout.length,
                "policy_step": rollout.policy_step,
            }
            for rollout, advantage in zip(self.rollouts, self.advantages(kind), strict=True)
        ]


def prompt_text(prompt: Prompt) -> str:
    """A prompt, for people to read."""
    if isinstance(prompt, str):
        return prompt
    return "\n".join(f"{message['role']}: {message['content']}" for message in prompt)


def group_metrics(groups: Sequence[RolloutGroup]) -> dict[str, float]:
    """The metrics of one step's groups."""
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    rewards = [rollout.reward for rollout in rollouts]
    return {
        "reward/mean": fmean(rewards),
        "reward/std": pstdev(rewards),
        "reward/min": min(rewards),
        "reward/max": max(rewards),
        "groups/solved": fmean(group.is_solved for group in groups),
        "groups/without_signal": fmean(not group.has_signal for group in groups),
        "completion/length": fmean(rollout.length for rollout in rollouts),
        "completion/cut": fmean(rollout.is_cut for rollout in rollouts),
        **_task_metrics(rollouts),
    }


def _task_metrics(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """The mean of each of the task's own metrics, over the rollouts that have it."""
    names = {name: None for rollout in rollouts for name in rollout.metrics}  # in their order
    return {
        f"task/{name}": fmean(rollout.metrics[name] for rollout in rollouts if name in rollout.metrics)
        for name in names
    }


def evaluation_metrics(groups: Sequence[RolloutGroup], name: str = "") -> dict[str, float]:
    """average@k and pass@k of a set, where k is the size of its groups; `name` is empty for the task's own."""
    prefix = f"evaluation/{name}/" if name else "evaluation/"
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    return {
        f"{prefix}reward": fmean(rollout.reward for rollout in rollouts),
        f"{prefix}solved": fmean(max(group.rewards) >= SOLVED for group in groups),
        f"{prefix}cut": fmean(rollout.is_cut for rollout in rollouts),
    }
