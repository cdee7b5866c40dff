"""Sample, score, hand over: groups of samples go to the trainer, and its new weights to the inference server.

Started by `launch rl`; by hand, with the trainer and the inference server beside it and the same --output-dir:

    python -m launcher.workload.orchestrator @ orchestrator.toml --inference-url http://127.0.0.1:8000

Batch N may be sampled by a policy that lags up to max_async updates behind the one that will learn from it: with 0
sampling and training take turns, with 1 batch N + 1 is sampled while the trainer learns from batch N.
"""

import asyncio
import signal
import sys
import time
from statistics import fmean

from launcher.config.rollout import OrchestratorConfig
from launcher.errors import UserError
from launcher.instrumentation.waiting import waiting_for
from launcher.logger import get_logger
from launcher.monitor import get_monitor
from launcher.numbers import three_digits
from launcher.options.entry import load_component
from launcher.workload.entry import forget_metrics, run_component, run_dir
from launcher.workload.files import clear, resume_step
from launcher.workload.rollout.client import CompletionRequest, InferenceServers, ServerLost
from launcher.workload.rollout.groups import RolloutGroup, group_metrics, score
from launcher.workload.rollout.handover import Sample, make_batch, newest_weights, write_batch
from launcher.workload.task import Task, load_task

POLL = 0.005  # seconds between looks at the directory of the weights
RETRY = 0.5  # seconds before a server that was lost is asked once more
LOSSES = 5  # of a server over one request, after which it is not asked again
SHOWN_GROUPS = 4  # whose samples are logged, of every step that logs any


def main() -> None:
    run_component("orchestrator", load_component(OrchestratorConfig, sys.argv[1:]), orchestrate)


def orchestrate(config: OrchestratorConfig) -> int:
    """Hand over what is left of `max_steps` batches; the process's exit code comes back.

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
    task = load_task(config.task)
    async with InferenceServers(config.inference_url, config.model_name) as client:
        await Orchestrator(config, task, client).run_to_the_end()


class Orchestrator:
    def __init__(self, config: OrchestratorConfig, task: Task, client: InferenceServers) -> None:
        self.config, self.task, self.client = config, task, client
        self.run = run_dir(config)
        self.first = resume_step(self.run)  # updates before this attempt
        self.policy_step = -1  # updates behind the weights that the server has
        self.evaluated = -1  # of them, when the policy was last evaluated

    async def run_to_the_end(self) -> None:
        forget_metrics(self.run, self.first)
        clear(self.run.rollouts)
        with waiting_for(f"inference at {self.client.url} to be ready"):
            await self.client.wait_until_ready(self.config.inference_timeout)
        get_logger().info("inference at {} is ready", self.client.url)
        await self.load_weights(self.first, self.first)
        if self.first == 0:
            get_monitor().log(await self.evaluate(), step=0)
        for step in range(self.first + 1, self.config.max_steps + 1):
            await self.hand_over(step)
        if self.evaluated < self.config.max_steps:
            await self.load_weights(self.config.max_steps, self.config.max_steps)
            get_monitor().log(await self.evaluate(), self.config.max_steps)

    async def hand_over(self, step: int) -> None:
        """Make the batch for one update, as soon as the policy is new enough."""
        started = time.perf_counter()
        await self.load_weights(max(self.first, step - 1 - self.config.max_async), step - 1)
        waited = time.perf_counter() - started
        evaluation = await self.evaluate() if self.is_evaluation_due else {}

        sampling_started = time.perf_counter()
        groups = await self.sample(step)
        sampled = time.perf_counter() - sampling_started
        samples = [sample for group in groups for sample in group.samples]
        advantages = [advantage for group in groups for advantage in group.advantages]
        temperature = self.config.sampling.temperature
        write_batch(self.run, step, make_batch(samples, advantages, self.policy_step, temperature))

        times = {"time/wait_for_weights_s": waited, "time/rollout_s": sampled}
        self.report(step, groups, evaluation | times | {"time/step_s": time.perf_counter() - started})

    async def load_weights(self, oldest: int, newest: int) -> None:
        """Give the server the newest weights of these steps, once there are any; it may have them already."""
        deadline = time.monotonic() + self.config.weights_timeout
        with waiting_for(f"weights {oldest}"):
            while (step := newest_weights(self.run, max(oldest, self.policy_step), newest)) is None:
                if time.monotonic() > deadline:
                    waited = f"after {self.config.weights_timeout:g} s"
                    raise UserError(f"no weights of step {oldest} {waited}", "is the trainer alive? see its log")
                await asyncio.sleep(POLL)
        if step > self.policy_step:
            try:
                with waiting_for(f"inference to load weights {step}"):
                    await self.client.load_weights(self.run.weights(step), step)
                self.policy_step = step
            except ServerLost as lost:
                await self.recover(lost)

    async def ask(self, request: CompletionRequest) -> list[list[Sample]]:
        """The samples. A server that is lost meanwhile is asked again for all, since its policy may be a newer one."""
        for _ in range(LOSSES):
            try:
                return await self.client.sample(request)
            except ServerLost as error:
                lost = error
                await self.recover(lost)
        raise lost

    async def recover(self, lost: ServerLost) -> None:
        """Wait until the server is back, and give it the newest weights before it is asked for anything."""
        get_logger().warning("{}; waiting for it up to {:g} s", lost.message, self.config.inference_timeout)
        deadline = time.monotonic() + self.config.inference_timeout
        while True:
            with waiting_for("inference to come back"):
                await self.client.wait_until_ready(self.config.inference_timeout)
            step = newest_weights(self.run, max(self.first, self.policy_step), self.config.max_steps)
            assert step is not None  # the trainer keeps those of the policy that sampled last
            try:
                await self.client.load_weights(self.run.weights(step), step)
                break
            except ServerLost:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(RETRY)  # it may be on its way down, and answer for a moment longer
        self.policy_step = step
        get_logger().info("inference at {} is back, with the weights of step {}", self.client.url, step)

    async def sample(self, step: int) -> list[RolloutGroup]:
        """The scored groups of one step."""
        count, sampling = self.config.prompts_per_step, self.config.sampling
        prompts = self.task.prompts(self.config.seed, (step - 1) * count, count)
        seed = self.config.seed * 1_000_003 + step
        asked = CompletionRequest(
            prompts, self.config.samples_per_prompt, sampling.temperature, sampling.max_tokens, seed
        )
        with waiting_for(f"samples of batch {step} from inference"):
            samples = await self.ask(asked)
        return [score(self.task, prompt, group) for prompt, group in zip(prompts, samples, strict=True)]

    # --- evaluation ---

    @property
    def is_evaluation_due(self) -> bool:
        interval = self.config.evaluation_interval
        return interval > 0 and self.policy_step // interval > self.evaluated // interval

    async def evaluate(self) -> dict[str, float]:
        """The mean reward of the likeliest completion of each held-out prompt."""
        prompts = self.task.held_out(self.config.evaluation_prompts)
        asked = CompletionRequest(prompts, n=1, temperature=0.0, max_tokens=self.config.sampling.max_tokens, seed=0)
        with waiting_for("samples of an evaluation from inference"):
            samples = await self.ask(asked)
        groups = [score(self.task, *pair) for pair in zip(prompts, samples, strict=True)]
        reward = fmean(group.rewards[0] for group in groups)
        self.evaluated = self.policy_step
        get_logger().info("evaluation after {} updates: mean reward {}", self.policy_step, three_digits(reward))
        return {"evaluation/reward": reward, "evaluation/policy_step": self.policy_step}

    # --- what people see ---

    def report(self, step: int, groups: list[RolloutGroup], metrics: dict[str, float]) -> None:
        """Log the step, on the console in one line."""
        metrics = group_metrics(groups) | metrics | {"policy/lag": step - 1 - self.policy_step}
        monitor = get_monitor()
        monitor.log(metrics, step)
        if monitor.wants_extras(step):
            monitor.log_samples(step, [row for group in groups[:SHOWN_GROUPS] for row in group.describe()])
            rewards = [reward for group in groups for reward in group.rewards]
            advantages = [advantage for group in groups for advantage in group.advantages]
            monitor.log_distributions(step, {"reward": rewards, "advantage": advantages})
        get_logger().info(
            "step {}/{} | reward {} | solved {:.2f} | length {:.1f} | lag {} | {:.2f} s, {:.2f} s of it waiting",
            step,
            self.config.max_steps,
            three_digits(metrics["reward/mean"]),
            metrics["groups/solved"],
            metrics["completion/length"],
            metrics["policy/lag"],
            metrics["time/step_s"],
            metrics["time/wait_for_weights_s"],
        )


if __name__ == "__main__":
    main()
