"""An environment of `verifiers` of several turns, whose code plays the user: it counts as long as somebody answers."""

from collections.abc import Iterator

import verifiers.v1 as vf

__all__ = ["CountEnv", "CountTaskset"]


class CountConfig(vf.EnvConfig):
    counter: vf.AgentConfig = vf.AgentConfig()
    second: vf.AgentConfig = vf.AgentConfig()
    turns: int = 3
    rivals: bool = False  # whether the second agent plays as well


class CountEnv(vf.Env[CountConfig]):
    async def run(self, task: vf.Task, agents: vf.Agents) -> None:
        async with agents.counter.interaction(task) as talk:
            segment, number = await talk.turn(), 1
            while not segment.terminated and number < self.config.turns:
                segment = await talk.turn(f"{number}!")
                number += 1
        talk.trace.record_reward("answers", float(talk.trace.num_turns))
        if self.config.rivals:
            await agents.second.run(task)


class CountTaskset(vf.Taskset):
    INFINITE = True

    def load(self) -> Iterator[vf.Task]:
        number = 0
        while True:
            number += 1
            yield vf.Task(vf.TaskData(prompt=f"{number}?", system_prompt="count"))
