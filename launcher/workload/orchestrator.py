"""Sample, score, hand over: groups of samples go to the trainer, and its new weights to the inference servers.

Started by `launch rl`; by hand, with the trainer and the inference server beside it and the same --output-dir:

    python -m launcher.workload.orchestrator @ orchestrator.toml --inference-url http://127.0.0.1:8000

Batch N holds groups of policies that lag at most max_async updates behind the one that will learn from it: with 0
sampling and training take turns, with 1 batch N + 1 is sampled while the trainer learns from batch N. Groups are asked
for ahead of their step, as far as max_async allows, and complete ones go first.
"""

import asyncio
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from statistics import fmean
from typing import TYPE_CHECKING, Any

from launcher.borders.screen import in_one_line
from launcher.config.rollout import OrchestratorConfig
from launcher.errors import UserError
from launcher.instrumentation.marks import mark
from launcher.instrumentation.waiting import waiting_for
from launcher.logger import get_logger
from launcher.monitor import get_monitor
from launcher.numbers import three_digits
from launcher.options.entry import load_component
from launcher.tracking.samples import ROWS
from launcher.workload.entry import forget_metrics, run_component, run_dir
from launcher.workload.files import clear, resume_step
from launcher.workload.models.find import find_model
from launcher.workload.rollout.client import MOST_SEEDS
from launcher.workload.rollout.groups import RolloutGroup, evaluation_metrics, group_metrics, prompt_text
from launcher.workload.rollout.handover import make_batch, write_batch
from launcher.workload.rollout.players import load_player
from launcher.workload.rollout.playing import Draw, Player
from launcher.workload.rollout.policy import Policy
from launcher.workload.rollout.sampler import Sampler
from launcher.workload.rollout.servers import InferenceServers, together
from launcher.workload.rollout.threads import in_thread
from launcher.workload.tasks import Prompt

if TYPE_CHECKING:
    from launcher.workload.rollout.texts import Texts

POLL = 0.01  # seconds between looks for new weights while groups are in flight
LOOKED_AT = 256  # prompts whose length is checked at the start, beside those that are held out
SHOWN = 60  # characters of a prompt in a message


def main() -> None:
    run_component("orchestrator", load_component(OrchestratorConfig, sys.argv[1:]), orchestrate)


def orchestrate(config: OrchestratorConfig) -> int:
    """Hand over the rest of `max_steps` batches. Returns the process's exit code.

    Raises UserError when the inference server or the trainer does not do its part.
    """
    try:
        asyncio.run(_orchestrate(config))
    except asyncio.CancelledError:
        get_logger().info("asked to end")
        return 128 + signal.SIGTERM
    return 0


async def _orchestrate(config: OrchestratorConfig) -> None:
    this = asyncio.current_task()
    assert this is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, this.cancel)
    if config.inference_url is None:
        raise UserError("there is no inference_url", "type --inference-url http://HOST:PORT")
    async with InferenceServers(config.inference_url, config.model_name, config.engine) as client:
        await Orchestrator(config, client).run_to_the_end()


class Orchestrator:
    def __init__(self, config: OrchestratorConfig, client: InferenceServers) -> None:
        self.config = config
        self.run = run_dir(config)
        self.first = resume_step(self.run)  # updates before this attempt
        self.policy = Policy(self.run, client, config.inference_timeout, config.weights_timeout)
        self.player = load_player(config.task, self.policy)
        self.sets = {"": self.player, **evaluation_sets(config, self.policy)}
        first_index, redraws = self.first * config.prompts_per_step, config.resample * config.prompts_per_step
        self.sampler = Sampler(self.sample, first_index, config.max_in_flight, redraws)
        self.places = asyncio.Semaphore(config.max_in_flight)  # for the prompts of an evaluation
        self.evaluated = -1  # updates of the policy that was last evaluated

    async def run_to_the_end(self) -> None:
        forget_metrics(self.run, self.first)
        clear(self.run.rollouts)
        async with AsyncExitStack() as opened:
            await self.get_ready(opened)
            opened.push_async_callback(self.sampler.close)
            await self.take_all_steps()

    async def take_all_steps(self) -> None:
        if self.first == 0:
            get_monitor().log(await self.evaluate(), step=0)
            mark("evaluation")
        for step in range(self.first + 1, self.config.max_steps + 1):
            await self.hand_over(step)
        await self.sampler.close()
        if self.evaluated < self.config.max_steps:
            await self.policy.reach(self.config.max_steps, self.config.max_steps)
            get_monitor().log(await self.evaluate(), self.config.max_steps)

    async def get_ready(self, opened: AsyncExitStack) -> None:
        """Load the tokenizer while the server starts, look for prompts that are too long, give it the first weights.

        Raises UserError for such a prompt: later it would end the run when its turn comes.
        """
        _, loading = in_thread(self.load_texts)
        await self.policy.wait_until_ready()
        texts, (length, prompt) = await loading
        if length:  # an environment's prompts are known only when they are played
            check_room(length, prompt, self.config.sampling.max_tokens, await self.policy.client.context())
        for player in self.sets.values():
            opened.push_async_callback(player.close)
            await player.open(texts)
        await self.policy.reach(self.first, self.first)
        mark("first weights", waits_for="trainer")

    def load_texts(self) -> tuple["Texts", tuple[int, Prompt]]:
        """The tokenizer, and the longest of the first prompts with its length."""
        from launcher.workload.rollout.texts import Texts  # imports transformers

        texts = Texts(find_model(self.config.model, self.config))
        return texts, texts.longest(self.first_prompts())

    def first_prompts(self) -> Iterator[Prompt]:
        """The prompts that are held out, and the first ones that are trained on."""
        config = self.config
        for player in self.sets.values():
            yield from player.known_prompts(player.held_out(config.evaluation.prompts))
        count = min(LOOKED_AT, (config.max_steps - self.first) * config.prompts_per_step)
        first = self.first * config.prompts_per_step
        yield from self.player.known_prompts(self.player.prompt(config.seed, first + at) for at in range(count))

    async def hand_over(self, step: int) -> None:
        """Make the batch for one update, as soon as there are enough groups that are new enough."""
        started = time.perf_counter()
        oldest = max(self.first, step - 1 - self.config.max_async)
        await self.policy.reach(oldest, step - 1)
        waited = time.perf_counter() - started
        groups, evaluation = await self.gather(step, oldest)
        learned = [pair for group in groups for pair in group.learned(self.config.advantage)]
        samples, advantages = zip(*learned, strict=True)
        write_batch(self.run, step, make_batch(samples, advantages, self.config.sampling.temperature))
        spent = time.perf_counter() - started
        times = {"time/wait_for_weights_s": waited, "time/rollout_s": spent - waited, "time/step_s": spent}
        times["time/load_weights_s"] = self.policy.load_seconds
        self.report(step, groups, evaluation | times)

    async def gather(self, step: int, oldest: int) -> tuple[list[RolloutGroup], dict[str, float]]:
        """The groups of one step; meanwhile the servers get each new policy, and an evaluation when it is due."""
        config, evaluation = self.config, dict[str, float]()
        with waiting_for(f"samples of batch {step} from inference"):
            while True:
                await self.policy.reach(oldest, step - 1)
                evaluation |= await self.evaluate() if self.is_evaluation_due else {}
                groups = self.sampler.take(config.prompts_per_step, oldest)
                if groups is not None:
                    return groups, evaluation
                last = min(self.policy.step + 1 + config.max_async, config.max_steps)  # step for which it may sample
                self.sampler.fill((last - step + 1) * config.prompts_per_step)
                await self.sampler.wait(POLL)

    # --- sampling ---

    async def sample(self, index: int) -> RolloutGroup:
        """The group of one prompt; what is drawn depends on the run's seed and the prompt's index."""
        config, sampling = self.config, self.config.sampling
        seed = (config.seed * 1_000_003 + index) % MOST_SEEDS
        draw = Draw(config.samples_per_prompt, sampling.temperature, sampling.max_tokens, seed)
        return await self.player.play(index, self.player.prompt(config.seed, index), draw)

    # --- evaluation ---

    @property
    def is_evaluation_due(self) -> bool:
        interval = self.config.evaluation.interval
        return interval > 0 and self.policy.step // interval > self.evaluated // interval

    async def evaluate(self) -> dict[str, float]:
        """How good the policy is on the held-out prompts of the task and on each further set."""
        metrics: dict[str, float] = {}
        for name, player in self.sets.items():
            prompts = player.held_out(self.config.evaluation.prompts)
            with waiting_for("samples of an evaluation from inference"):
                groups = await together(self.evaluate_one(player, *pair) for pair in enumerate(prompts))
            metrics |= evaluation_metrics(groups, name)
        self.evaluated = self.policy.step
        shown = ", ".join(
            f"{key.removeprefix('evaluation/')} {three_digits(value)}"
            for key, value in metrics.items()
            if not key.endswith("/cut")
        )
        get_logger().info("evaluation after {} updates: {}", self.policy.step, shown)
        return metrics | {"evaluation/policy_step": self.policy.step}

    async def evaluate_one(self, player: Player, index: int, prompt: Any) -> RolloutGroup:
        sampling, n = self.config.sampling, self.config.evaluation.samples
        draw = Draw(n, sampling.temperature if n > 1 else 0.0, sampling.max_tokens, seed=index)
        async with self.places:
            return await player.play(index, prompt, draw)

    # --- what people see ---

    def report(self, step: int, groups: list[RolloutGroup], metrics: dict[str, float]) -> None:
        """Log the step, on the console in one line."""
        lag = fmean(step - 1 - rollout.policy_step for group in groups for rollout in group.rollouts)
        failed = sum(player.count_failed() for player in self.sets.values())
        counts = {"policy/lag": lag, "reward/failed": failed, **self.sampler.count_dropped()}
        metrics = group_metrics(groups) | metrics | counts
        monitor = get_monitor()
        monitor.log(metrics, step)
        kind = self.config.advantage
        shown = groups[: max(1, ROWS // self.config.samples_per_prompt)]
        monitor.log_samples(step, [row for group in shown for row in group.describe(kind)])
        if monitor.wants_extras(step):
            rewards = [reward for group in groups for reward in group.rewards]
            advantages = [advantage for group in groups for advantage in group.advantages(kind)]
            monitor.log_distributions(step, {"reward": rewards, "advantage": advantages})
        get_logger().info(
            "step {}/{} | reward {} | solved {:.0%} | lag {:.1f} | {:.1f} s",
            step,
            self.config.max_steps,
            three_digits(metrics["reward/mean"]),
            metrics["groups/solved"],
            lag,
            metrics["time/step_s"],
        )


def evaluation_sets(config: OrchestratorConfig, policy: Policy) -> dict[str, Player]:
    """The further sets to evaluate on, each with its rewards. Raises UserError as `load_task` does."""
    tasks = config.evaluation.tasks(config.task)
    return {name: load_player(task, policy, for_evaluation=True) for name, task in tasks.items()}


def check_room(length: int, prompt: Prompt, max_tokens: int, context: int | None) -> None:
    """Raises UserError for a prompt that has no room for its completion in the servers' context, if that is known."""
    if context is None or length + max_tokens <= context:
        return
    text = in_one_line(prompt_text(prompt))
    shown = text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
    raise UserError(
        f"the prompt {shown!r} is too long: it has {length} tokens, its completion may have {max_tokens} "
        f"(orchestrator.sampling.max_tokens), and the model's context is {context}",
        "leave such prompts out, lower --orchestrator.sampling.max-tokens, or have a longer context: "
        "--trainer.model.tiny.context for tiny, --inference.max-model-len if it is set for vLLM",
    )


if __name__ == "__main__":
    main()
