"""The agent that plays an environment unless it brings its own: a chat with the environment's tools, in this process.

It is verifiers' harness `null` without its program: that one starts a Python for each rollout, which took 17 s for 512
rollouts whose completions take 1.3 s. Every turn still goes through verifiers' interception, so limits and stops hold.
"""

import json
import sys
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
from verifiers.v1.clients import ModelContext
from verifiers.v1.configs.harness import HarnessConfig
from verifiers.v1.dialects.chat import message_to_wire
from verifiers.v1.harness import Harness
from verifiers.v1.harnesses.utils.compaction import bound_tool_message
from verifiers.v1.harnesses.utils.mcp import MCPConnection, call_mcp, connect_mcp
from verifiers.v1.runtimes import ProgramResult, Runtime
from verifiers.v1.task import TaskData
from verifiers.v1.trace import Trace

ID = "launch-chat"
__all__ = ["ChatHarness"]  # by which verifiers finds the harness in its module

sys.modules[ID.replace("-", "_")] = sys.modules[__name__]  # verifiers looks harnesses up by a top-level module's name


class ChatConfig(HarnessConfig):  # type: ignore[misc]  # verifiers is an extra
    id: str = ID


class ChatHarness(Harness[ChatConfig]):  # type: ignore[misc]
    APPENDS_SYSTEM_PROMPT = True
    SUPPORTS_MCP = True
    SUPPORTS_RESUME = True
    EXECUTES_CODE = False
    NEEDS_CONTAINER = False

    async def launch(
        self,
        ctx: ModelContext,
        trace: Trace,
        runtime: Runtime,
        endpoint: str,
        secret: str,
        mcp_urls: dict[str, str],
        data: TaskData,
    ) -> ProgramResult:
        """Talk until the policy calls no more tools, or the context is full."""
        servers = {name: {"url": url, "timeout": self.config.tool_timeout} for name, url in mcp_urls.items()}
        async with AsyncExitStack() as opened:
            schemas, dispatch, connections = await connect_mcp({"mcpServers": servers}, opened)
            tools = _Tools(dispatch, connections)
            http = await opened.enter_async_context(
                aiohttp.ClientSession(
                    headers={"authorization": f"Bearer {secret}"}, timeout=aiohttp.ClientTimeout(total=None)
                )
            )
            messages = self._opening(data)
            while True:
                body = {"model": ctx.model, "messages": messages} | ({"tools": schemas} if schemas else {})
                async with http.post(f"{endpoint}/chat/completions", json=body) as answer:
                    if answer.status != 200:
                        return _ended(await answer.text())
                    message = (await answer.json())["choices"][0]["message"]
                messages.append(message)
                if not message.get("tool_calls"):
                    return ProgramResult(exit_code=0, stdout="", stderr="")
                messages += [await tools.call(call) for call in message["tool_calls"]]

    def _opening(self, data: TaskData) -> list[dict[str, Any]]:
        system, prompt = self.resolve_prompt(data)
        messages = [{"role": "system", "content": system}] if system else []
        if isinstance(prompt, str):
            return [*messages, {"role": "user", "content": prompt}]
        return [*messages, *(message_to_wire(message) for message in prompt or [])]


class _Tools:
    """The tools of an environment, which its MCP servers have."""

    def __init__(self, dispatch: dict[str, tuple[str, str]], servers: dict[str, MCPConnection]) -> None:
        self._dispatch, self._servers = dispatch, servers

    async def call(self, call: dict[str, Any]) -> dict[str, Any]:
        """The message that answers a call; what is wrong with the call is said to the policy."""
        function = call["function"]
        content = await self._result(function["name"], function["arguments"])
        answer = {"role": "tool", "tool_call_id": call["id"], "name": function["name"], "content": content}
        return dict(bound_tool_message(answer))

    async def _result(self, name: str, text: str) -> Any:
        if name not in self._dispatch:
            return f"error: unknown tool {name!r}"
        try:
            arguments = json.loads(text or "{}")
        except ValueError as error:
            return f"error: invalid JSON in tool arguments ({error}); resend the call with valid JSON"
        if not isinstance(arguments, dict):
            return f"error: tool arguments must be a JSON object, got {type(arguments).__name__}; resend as an object"
        return await call_mcp(self._servers, self._dispatch, name, arguments)


def _ended(refusal: str) -> ProgramResult:
    """A full context ends the chat as any other limit does; what else refuses a turn is for verifiers to judge."""
    is_full = "maximum context length" in refusal
    return ProgramResult(exit_code=0 if is_full else 1, stdout="", stderr=refusal)
