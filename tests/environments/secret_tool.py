"""An environment of `verifiers` with a tool: the policy has to ask for a secret before it can say it.

Started as a program, it is the tool's MCP server.
"""

from collections.abc import Iterator

import verifiers.v1 as vf

__all__ = ["SecretTaskset"]

SECRETS = {"a": "xy", "b": "zw"}


class SecretTools(vf.Toolset[vf.SharedToolsetConfig]):
    TOOL_PREFIX = "t"

    @vf.tool
    async def tell(self, of: str) -> str:
        """Tell the secret of a letter."""
        return SECRETS[of]


class SecretData(vf.TaskData):
    answer: str


class SecretTask(vf.Task[SecretData]):
    @vf.reward
    async def said(self, trace: vf.Trace) -> float:
        return float(trace.last_reply == self.data.answer)

    @vf.reward(weight=0.0)
    async def asked(self, trace: vf.Trace) -> float:
        return float(len(trace.tool_messages))


class SecretTaskset(vf.Taskset[SecretTask]):
    def load(self) -> Iterator[SecretTask]:
        for letter, secret in SECRETS.items():
            yield SecretTask(SecretData(prompt=f"{letter}?", answer=secret))

    @classmethod
    def toolsets(cls, config: vf.TasksetConfig) -> list[vf.Toolset]:
        return [SecretTools(vf.SharedToolsetConfig())]


if __name__ == "__main__":
    SecretTools.run()
