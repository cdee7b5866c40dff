"""Chat messages to tokens by the model's own template, and back, for every model that has one.

`renderers`, which verifiers uses, knows the templates of published models by their ids on the hub. For any other model
it falls back to the template, but then renders a conversation anew at each turn and knows no tools. This renderer
extends the tokens that were sampled, and reads tool calls as Hermes, Qwen and many others write them:

    <tool_call>{"name": "search", "arguments": {"query": "…"}}</tool_call>
"""

import json
import re
from typing import Any

from pydantic import TypeAdapter, ValidationError
from renderers import RenderedTokens, Renderer, create_renderer
from renderers.base import MODEL_RENDERER_MAP, ParsedResponse, ParsedToolCall, ToolCallParseStatus
from renderers.configs import RendererConfig
from renderers.default import DefaultRenderer

from launcher.errors import UserError
from launcher.workload.models.tokenizer import Tokenizer

STAND_IN = "\u2063said before\u2063"  # in place of what the assistant said; nobody else writes so
_TOOL_CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)


def make_renderer(model: str, tokenizer: Tokenizer, settings: dict[str, Any] | None) -> Renderer:
    """The renderer that `task.args.renderer` describes; else that of the model's id; else the template's.

    Raises UserError when there is no such renderer, or the model has no chat template.
    """
    if settings is None and model not in MODEL_RENDERER_MAP:
        if tokenizer.chat_template is None:
            hint = "use a chat model"
            raise UserError(f"environments talk in chat messages, and {model} has no chat template", hint)
        return TemplateRenderer(tokenizer)
    try:
        config = TypeAdapter(RendererConfig).validate_python(settings or {"name": MODEL_RENDERER_MAP[model]})
        return create_renderer(tokenizer, config)
    except (ValidationError, ValueError, TypeError, ImportError) as error:
        first_line = str(error).strip().partition("\n")[0]
        raise UserError(f"task.args.renderer = {settings}: {first_line}", "see the package renderers") from error


class TemplateRenderer(DefaultRenderer):  # type: ignore[misc]  # renderers is an extra
    @property
    def supports_tools(self) -> bool:
        return True

    def render(
        self, messages: list[Any], *, tools: list[Any] | None = None, add_generation_prompt: bool = False
    ) -> RenderedTokens:
        tokens = self.render_ids(messages, tools=tools, add_generation_prompt=add_generation_prompt)
        return _rendered(tokens, 0, messages)

    def bridge_to_next_turn(
        self,
        previous_prompt_ids: list[int],
        previous_completion_ids: list[int],
        new_messages: list[Any],
        *,
        tools: list[Any] | None = None,
    ) -> RenderedTokens | None:
        """The tokens so far, and the template's for what has come since: how it closes the turn, and the messages.

        None when the template cannot say that: it refuses a conversation of a stand-in, or changes what was said.
        """
        if any(message["role"] == "assistant" for message in new_messages):
            return None
        said = [{"role": "user", "content": "…"}, {"role": "assistant", "content": STAND_IN}]
        try:
            text = self._tokenizer.apply_chat_template(
                [*said, *new_messages], tools=tools, tokenize=False, add_generation_prompt=True
            )
        except Exception:  # whatever the template's own code raises
            return None
        before, found, since = text.rpartition(STAND_IN)
        if not found or STAND_IN in before:
            return None
        new = self._tokenizer(since, add_special_tokens=False).input_ids
        so_far = [*previous_prompt_ids, *previous_completion_ids]
        if new and new[0] == so_far[-1] and self._is_special(new[0]):
            new = new[1:]  # the policy has closed its turn itself
        return _rendered([*so_far, *new], len(so_far), new_messages)

    def parse_response(
        self, token_ids: list[int], *, tools: list[Any] | None = None, prompt_ids: list[int] | None = None
    ) -> ParsedResponse:
        said = token_ids[:-1] if token_ids and self._is_special(token_ids[-1]) else token_ids
        parsed = super().parse_response(said, tools=tools, prompt_ids=prompt_ids)
        if tools:
            parsed.tool_calls = [_tool_call(match[1]) for match in _TOOL_CALL.finditer(parsed.content)]
            if any(
                call.status == ToolCallParseStatus.OK for call in parsed.tool_calls
            ):  # else the text shows what went wrong
                parsed.content = _TOOL_CALL.sub("", parsed.content).strip()
        return parsed

    def _is_special(self, token: int) -> bool:
        added = self._tokenizer.added_tokens_decoder.get(token)
        return added is not None and bool(added.special)


def _rendered(tokens: list[int], start: int, messages: list[Any]) -> RenderedTokens:
    """Tokens of which those from `start` on are the messages'. Where one ends and the next begins, no template says."""
    return RenderedTokens(
        token_ids=tokens,
        message_indices=[-1] * start + [len(messages) - 1] * (len(tokens) - start),
        message_roles=[message["role"] for message in messages],
    )


def _tool_call(text: str) -> ParsedToolCall:
    try:
        call = json.loads(text)
        name, arguments = call["name"], call.get("arguments", {})
        # half of a surrogate pair is no text, and raises here
        is_good = isinstance(name, str) and bool(name) and bool(json.dumps(call, ensure_ascii=False).encode())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        is_good = False
    if not is_good:
        return ParsedToolCall(raw=text, status=ToolCallParseStatus.INVALID_JSON)
    return ParsedToolCall(raw=text, name=name, arguments=arguments)
