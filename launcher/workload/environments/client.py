"""The model that an environment talks to: the run's inference servers, asked by token ids as for any other task.

Why it is not verifiers' own client: that one posts to vLLM's /inference/v1/generate, which vLLM 0.32 serves only with
--enable-scale-out, and whose answers renderers 0.1.12 cannot read (it expects `"token": "token_id:7"`, and vLLM sends
an integer). With ours any engine does, weights are counted, and a server that was lost is asked again.

Text is never tokenized twice. A turn's prompt is the tokens of the turns before it, as they were sampled, and the chat
template's tokens for what has come since. A template that cannot be extended so is rendered anew; the trace then
branches, and each branch becomes a sequence of its own to learn from.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from renderers import RenderedTokens, Renderer
from renderers.base import ToolCallParseStatus
from verifiers.v1.clients import Client
from verifiers.v1.clients.train import response_from_generate, serialize_completion, tool_to_wire
from verifiers.v1.dialects import ChatDialect, Dialect
from verifiers.v1.dialects.chat import message_to_wire
from verifiers.v1.errors import ProviderError
from verifiers.v1.graph import PendingTurn
from verifiers.v1.types import Response, SamplingConfig

from launcher.errors import UserError
from launcher.workload.rollout.client import MOST_SEEDS, Completed, CompletionRequest
from launcher.workload.rollout.policy import Policy

MODEL = "policy"
REFUSED = 400  # the status of what would be refused again


@dataclass
class Episode:
    """What one episode draws, and what is to be known of it beside its trace."""

    temperature: float
    max_tokens: int
    seed: str
    turns: int = 0
    policy_step: int | None = None  # updates of the oldest policy that sampled any of it
    is_cut: bool = False  # whether a completion had no room for its end
    error: UserError | None = None  # that ends the run

    def next_seed(self) -> int:
        """Each turn draws anew, and the same for the same seed."""
        self.turns += 1
        return random.Random(f"{self.seed}/{self.turns}").randrange(MOST_SEEDS)

    def count(self, completed: Completed) -> None:
        self.is_cut |= completed.is_cut
        steps = [completed.policy_step] if self.policy_step is None else [self.policy_step, completed.policy_step]
        self.policy_step = min(steps)


class PolicyClient(Client):  # type: ignore[misc]  # verifiers is an extra
    """`episodes` are those that are being played, by the ids of their traces."""

    def __init__(self, policy: Policy, renderer: Renderer, context: int) -> None:
        self._policy, self._renderer, self._context = policy, renderer, context
        self.episodes: dict[str, Episode] = {}

    async def get_response(
        self,
        dialect: Dialect,
        body: dict[str, Any],
        sampling: SamplingConfig,
        session_id: str | None = None,
        turn: PendingTurn | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        if turn is None or not isinstance(dialect, ChatDialect):
            raise ProviderError("the policy speaks chat completions only", status_code=REFUSED)
        episode = self.episodes[turn.trace.id]
        try:
            return await self._respond(turn, episode, sampling.max_tokens or episode.max_tokens)
        except UserError as error:  # verifiers would take it for a failure of this episode alone
            episode.error = error
            raise ProviderError(str(error), status_code=REFUSED) from error

    async def _respond(self, turn: PendingTurn, episode: Episode, max_tokens: int) -> Response:
        tools = [tool_to_wire(tool) for tool in turn.tools] or None
        rendered, is_extended = self._render(turn, tools)
        prompt = list(rendered.token_ids)
        room = self._context - len(prompt)
        if room < 1:
            message = f"the prompt has {len(prompt)} tokens, the model's maximum context length is {self._context}"
            if episode.turns == 0:
                raise UserError(message)
            episode.is_cut = True
            raise ProviderError(message, status_code=REFUSED)
        request = CompletionRequest(prompt, 1, episode.temperature, min(max_tokens, room), episode.next_seed())
        (completed,) = await self._policy.ask(request)
        episode.count(completed)
        response = response_from_generate(
            self._parsed(completed, prompt, tools) | {"prompt_attribution": rendered},
            MODEL,
            turn if is_extended else None,
        )
        response.raw = serialize_completion(response, MODEL)
        return response

    def _render(self, turn: PendingTurn, tools: list[dict[str, Any]] | None) -> tuple[RenderedTokens, bool]:
        """The prompt, and whether it extends the tokens of the turn before."""
        new = [message_to_wire(message) for message in turn.tail]
        before = turn.previous_renderer_token_ids()
        if before is not None and new:
            extended = self._renderer.bridge_to_next_turn(*before, new, tools=tools)
            if extended is not None:
                return extended, True
        messages = [message_to_wire(message) for message in turn.prompt]
        try:
            return self._renderer.render(messages, tools=tools, add_generation_prompt=True), False
        except Exception as error:  # whatever the template's own code raises
            raise UserError(f"the model's chat template refuses the messages {messages}: {error}") from error

    def _parsed(self, completed: Completed, prompt: list[int], tools: list[dict[str, Any]] | None) -> dict[str, Any]:
        """A completion, as verifiers' own client gets it from vLLM."""
        parsed = self._renderer.parse_response(completed.tokens, prompt_ids=prompt, tools=tools)
        calls = [call for call in parsed.tool_calls if call.status == ToolCallParseStatus.OK]
        reason = "length" if completed.is_cut else "tool_calls" if calls else "stop"
        return {
            "finish_reason": reason,
            "prompt_ids": prompt,
            "completion_ids": completed.tokens,
            "completion_logprobs": completed.logprobs,
            "content": parsed.content,
            "reasoning_content": parsed.reasoning_content,
            "tool_calls": calls,
        }
