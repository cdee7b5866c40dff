"""Plays the tasks of one environment, as many at a time as the orchestrator asks for."""

import logging
import math
from collections.abc import Iterable
from contextlib import AsyncExitStack
from typing import Any

import verifiers.v1 as vf
from pydantic import ValidationError
from verifiers.v1.clients import ModelContext, TrainClientConfig
from verifiers.v1.configs.agent import AgentConfig, agent_config_fields
from verifiers.v1.configs.env import EnvConfig
from verifiers.v1.interception import InterceptionServerConfig
from verifiers.v1.runtimes import SubprocessConfig

from launcher.config.workload import TaskConfig
from launcher.errors import UserError
from launcher.workload.environments.chat import ID, ChatConfig
from launcher.workload.environments.client import MODEL, Episode, PolicyClient
from launcher.workload.environments.template import make_renderer
from launcher.workload.rollout.groups import Rollout, RolloutGroup
from launcher.workload.rollout.handover import Sample
from launcher.workload.rollout.playing import Draw
from launcher.workload.rollout.policy import Policy
from launcher.workload.rollout.scoring import Failures
from launcher.workload.rollout.servers import together
from launcher.workload.rollout.texts import Texts
from launcher.workload.tasks import Prompt
from launcher.workload.tasks.split import Split

MOST_TASKS = 2048  # of an environment that makes tasks without end
ATTEMPTS = 3  # at a group of which every rollout fails
UNLIMITED = 1 << 31  # tokens, where the server does not say how long a sequence may be
ADDRESS = TrainClientConfig(base_url="http://policy.invalid", api_key_var="LAUNCH_NO_KEY")
"""By which verifiers knows the policy among other models that an environment may ask. Nothing is sent there."""

for noisy in ("verifiers", "mcp", "httpx2", "aiohttp.access"):
    logging.getLogger(noisy).setLevel(logging.WARNING)  # they log every rollout and every call of a tool


class Environment:
    """A Player. Raises UserError when there is no such environment, or it does not take its arguments."""

    def __init__(self, config: TaskConfig, policy: Policy, for_evaluation: bool = False) -> None:
        assert config.environment is not None
        self._name, self._policy = config.environment, policy
        arguments = dict(config.args)
        self._renderer = arguments.pop("renderer", None)
        self._env = _load(self._name, arguments)
        tasks = self._env.taskset if self._env.taskset.bounded else self._env.taskset.take(MOST_TASKS)
        self._tasks = {task.key: task for task in tasks}
        self._split = Split([*self._tasks], for_evaluation, f"the environment {self._name}")
        self._failures, self._trouble = Failures("is left out"), ""  # why the newest one failed
        self._opened = AsyncExitStack()
        self.count_failed = self._failures.count

    async def open(self, texts: Texts) -> None:
        """Start the environment's tool servers, and put the policy in the place of the model that it asks."""
        self._texts = texts
        renderer = make_renderer(texts.model, texts.tokenizer, self._renderer)
        context = await self._policy.client.context()
        self._client = PolicyClient(self._policy, renderer, context or UNLIMITED)
        await self._opened.enter_async_context(self._env.serving())
        # verifiers makes clients from configurations alone, and has no public name for its interception server
        self._env._interception.clients[ADDRESS.model_dump_json()] = self._client

    async def close(self) -> None:
        await self._opened.aclose()

    def prompt(self, seed: int, index: int) -> vf.Task:
        return self._tasks[self._split.train(seed, index)]

    def held_out(self, count: int) -> list[vf.Task]:
        return [self._tasks[key] for key in self._split.held_out(count)]

    def known_prompts(self, prompts: Iterable[vf.Task]) -> Iterable[Prompt]:
        return ()  # the tools, and what is said later, belong to them

    async def play(self, index: int, prompt: vf.Task, draw: Draw) -> RolloutGroup:
        """The rollouts of a task. One in which the environment itself fails is left out, and no group is empty."""
        for attempt in range(ATTEMPTS):
            seeds = (f"{draw.seed}/{attempt}/{place}" for place in range(draw.n))
            played = await together(self._play_one(prompt, draw, seed) for seed in seeds)
            if rollouts := [rollout for rollout in played if rollout]:
                return RolloutGroup(index, _messages(prompt), rollouts)
        what = f"the environment {self._name} fails at every rollout of {_messages(prompt)!r}"
        raise UserError(f"{what}, the last time with: {self._trouble}")

    async def _play_one(self, task: vf.Task, draw: Draw, seed: str) -> Rollout | None:
        episode = Episode(draw.temperature, draw.max_tokens, seed)
        traces: list[str] = []

        def begin(trace: vf.Trace) -> None:
            traces.append(trace.id)
            self._client.episodes[trace.id] = episode

        sampling = vf.SamplingConfig(temperature=draw.temperature, max_tokens=draw.max_tokens)
        context = ModelContext(model=MODEL, client=ADDRESS, sampling=sampling)
        (slot,) = self._env.slots(task)
        try:
            played = await self._env.run_slot(slot, context, on_trace=begin)
        finally:
            for trace in traces:
                del self._client.episodes[trace]
        if episode.error:
            raise episode.error
        return self._rollout(task, played, episode)

    def _rollout(self, task: vf.Task, played: vf.Episode, episode: Episode) -> Rollout | None:
        """What the policy did, and its reward. None if the environment has failed."""
        learning = [trace for trace in played.traces if trace.agent.trainable]
        errors = [*played.errors, *(error for trace in played.traces if not trace.ok for error in trace.errors)]
        trouble = f"{errors[-1].type}: {errors[-1].message}" if errors else "it has failed"
        if played.ok and len(learning) != 1:
            names = ", ".join(trace.agent.name for trace in learning)
            raise UserError(f"the environment {self._name} trains {len(learning)} agents ({names}); it must be one")
        if played.ok and not math.isfinite(reward := learning[0].reward):
            trouble = f"the reward is not a finite number: {reward}"
        elif played.ok and not (sequences := _sequences(learning[0], episode)):
            trouble = "the policy was never asked"
        elif played.ok:
            self._failures.note_success()
            text = self._texts.text(_after_prompt(sequences[-1]))
            return Rollout(sequences, text, episode.is_cut, reward, _metrics(learning[0]))
        self._trouble = trouble
        self._failures.note(f"a rollout of {_messages(task)!r}", trouble)
        return None


def _load(name: str, arguments: dict[str, Any]) -> vf.Env:
    try:
        data = {**arguments, "taskset": {**arguments.get("taskset", {}), "id": name}}
        config = vf.resolve_env_config(data)
        return vf.load_environment(_with_our_agents(name, config))
    except ModuleNotFoundError as error:
        raise UserError(f"the environment {name} cannot be imported: {error}") from error
    except (ValidationError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"the environment {name} does not take task.args {arguments}: {error}") from error


def _with_our_agents(name: str, config: EnvConfig) -> EnvConfig:
    """Agents run on this machine, and chat in this process, unless the user or the environment says otherwise."""
    default = vf.default_agent_harness(name).id
    agents = {role: _agent(role, agent, default) for role, agent in agent_config_fields(config).items()}
    # one server of this process serves all rollouts
    return config.model_copy(update={**agents, "interception": InterceptionServerConfig()})


def _agent(role: str, agent: AgentConfig, default: str) -> AgentConfig:
    set_by_user = agent.sampling.model_dump(exclude_unset=True) if agent.sampling else {}
    if others := set_by_user.keys() - {"max_tokens"}:
        hint = "the policy is sampled as orchestrator.sampling says"
        raise UserError(f"task.args.{role}.sampling has {', '.join(sorted(others))}", hint)
    update: dict[str, Any] = {}
    if "runtime" not in agent.model_fields_set:
        update["runtime"] = SubprocessConfig()
    harness = agent.harness.id if agent.harness else default
    if harness == "null" or (agent.harness is None and harness == "bash"):
        given = agent.harness.model_dump(exclude_unset=True) if agent.harness else {}
        update["harness"] = ChatConfig.model_validate({**given, "id": ID})
    return agent.model_copy(update=update)


def _messages(task: vf.Task) -> list[dict[str, Any]]:
    """What the policy is told, for people to read."""
    prompt, system = task.data.prompt, task.data.system_prompt
    opening = [{"role": "system", "content": system}] if system else []
    if isinstance(prompt, str):
        return [*opening, {"role": "user", "content": prompt}]
    return [*opening, *({"role": message.role, "content": message.content} for message in prompt or [])]


def _sequences(trace: vf.Trace, episode: Episode) -> list[Sample]:
    """Each branch of the conversation that the policy had a part in; what branches share is learned from once."""
    seen: set[int] = set()
    sequences = []
    for branch in trace.branches:
        tokens: list[int] = []
        loss_mask: list[bool] = []
        logprobs: list[float] = []
        for node in branch.nodes:
            is_new = id(node) not in seen
            seen.add(id(node))
            values = iter(node.logprobs)
            tokens += node.token_ids
            loss_mask += [is_new and flag for flag in node.mask]
            logprobs += [next(values) if flag and is_new else 0.0 for flag in node.mask]
        if any(loss_mask):
            assert episode.policy_step is not None
            sequences.append(Sample(tokens, loss_mask, logprobs, episode.policy_step))
    return sequences


def _after_prompt(sequence: Sample) -> list[int]:
    return sequence.tokens[sequence.loss_mask.index(True) :]


def _metrics(trace: vf.Trace) -> dict[str, float]:
    """The environment's metrics, each of several rewards, and the number of turns."""
    rewards = {name: reward.score for name, reward in trace.rewards.items() if reward} if len(trace.rewards) > 1 else {}
    metrics = {name: float(value) for name, value in trace.metrics.items() if value is not None}
    return {"turns": float(trace.num_turns), **rewards, **metrics}
