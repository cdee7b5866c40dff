"""A harness of `verifiers` of one question and one answer, in the env-server's process.

verifiers' own harness `null` starts a Python with packages of its own for each rollout.
"""

import aiohttp
import verifiers.v1 as vf
from verifiers.v1.clients import ModelContext
from verifiers.v1.configs.harness import HarnessConfig
from verifiers.v1.runtimes import ProgramResult, Runtime

__all__ = ["PlainChat"]


class PlainChatConfig(HarnessConfig):
    id: str = "plain-chat"


class PlainChat(vf.Harness[PlainChatConfig]):
    APPENDS_SYSTEM_PROMPT = False
    SUPPORTS_MCP = False
    SUPPORTS_RESUME = False
    EXECUTES_CODE = False
    NEEDS_CONTAINER = False

    async def launch(
        self,
        ctx: ModelContext,
        trace: vf.Trace,
        runtime: Runtime,
        endpoint: str,
        secret: str,
        mcp_urls: dict[str, str],
        data: vf.TaskData,
    ) -> ProgramResult:
        body = {"model": ctx.model, "messages": [{"role": "user", "content": data.prompt}]}
        headers = {"authorization": f"Bearer {secret}"}
        async with (
            aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=None)) as http,
            http.post(f"{endpoint}/chat/completions", json=body) as answer,
        ):
            text = await answer.text()
            return ProgramResult(exit_code=int(answer.status != 200), stdout="", stderr="" if answer.ok else text)
