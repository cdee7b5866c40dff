"""How the prompts of a task become rollouts: in one turn, or as an environment plays them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from launcher.workload.rollout.client import CompletionRequest
from launcher.workload.rollout.groups import Rollout, RolloutGroup
from launcher.workload.rollout.handover import sample_of
from launcher.workload.rollout.policy import Policy
from launcher.workload.rollout.scoring import Scorer
from launcher.workload.tasks import Prompt, Task

if TYPE_CHECKING:
    from launcher.workload.rollout.texts import Texts


@dataclass(frozen=True)
class Draw:
    """What is to be drawn for a prompt: `n` rollouts; the same seed draws the same from the same policy."""

    n: int
    temperature: float
    max_tokens: int
    seed: int


class Player(Protocol):
    """Plays the prompts of a task. What it gives out as a prompt is its own matter."""

    async def open(self, texts: "Texts") -> None:
        """Get ready to play."""
        ...

    async def close(self) -> None:
        """End what was opened, if it was."""
        ...

    def prompt(self, seed: int, index: int) -> Any:
        """One prompt of an endless stream for training; the same for the same seed."""
        ...

    def held_out(self, count: int) -> list[Any]:
        """Prompts for evaluation, `count` or fewer: always the same, and none of them ever trained on."""
        ...

    def known_prompts(self, prompts: Iterable[Any]) -> Iterable[Prompt]:
        """Of some prompts, what the policy is told; none of what is only known when it is played."""
        ...

    async def play(self, index: int, prompt: Any, draw: Draw) -> RolloutGroup:
        """The rollouts of a prompt and their rewards. Raises UserError when there can be none."""
        ...

    def count_failed(self) -> int:
        """How many rewards have failed since the last call."""
        ...


class OneTurn:
    """A rollout is one completion, and the task says how good it is."""

    def __init__(self, task: Task, reward_timeout: float, policy: Policy) -> None:
        self._task, self._policy = task, policy
        self._scorer = Scorer(task, reward_timeout)
        self.count_failed = self._scorer.count_failed

    async def open(self, texts: "Texts") -> None:
        self._texts = texts

    async def close(self) -> None:
        pass

    def prompt(self, seed: int, index: int) -> Prompt:
        (prompt,) = self._task.prompts(seed, index, 1)
        return prompt

    def held_out(self, count: int) -> list[Prompt]:
        return self._task.held_out(count)

    def known_prompts(self, prompts: Iterable[Prompt]) -> Iterable[Prompt]:
        return prompts

    async def play(self, index: int, prompt: Prompt, draw: Draw) -> RolloutGroup:
        tokens = self._texts.tokens(prompt)
        request = CompletionRequest(tokens, draw.n, draw.temperature, draw.max_tokens, draw.seed)
        completed = await self._policy.ask(request)
        texts = [self._texts.text(each.tokens) for each in completed]
        rewards = await self._scorer.score(prompt, texts)
        rollouts = [
            Rollout([sample_of(tokens, each.tokens, each.logprobs, each.policy_step)], text, each.is_cut, reward)
            for each, text, reward in zip(completed, texts, rewards, strict=True)
        ]
        return RolloutGroup(index, prompt, rollouts)
