"""Turns are appended to the tokens that were sampled, in the words of the chat template."""

from pathlib import Path

import pytest
from renderers.base import ToolCallParseStatus

from launcher.errors import UserError
from launcher.workload.environments.template import TemplateRenderer, make_renderer
from launcher.workload.models.tokenizer import Tokenizer
from tests.workload.training.templates import GEMMA, LLAMA, MARKED, QWEN, tokenizer_with

ASKED = [{"role": "user", "content": "a?"}]
TALK = [*ASKED, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c?"}]
SAID = {"llama": "b<|eot_id|>", "gemma": "b<end_of_turn>", "marked": "b<|im_end|>"}
TEMPLATES = {"llama": LLAMA, "gemma": GEMMA, "marked": MARKED}
NO_TALK = (
    "{% for message in messages %}{% if loop.index > 1 %}{{ raise_exception('one message') }}{% endif %}{% endfor %}"
)
UPPER = "{% for message in messages %}{{ message.content | upper }}{% endfor %}"


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False).input_ids)


@pytest.mark.parametrize("shape", TEMPLATES)
def test_the_next_prompt_is_what_was_sampled_and_the_templates_tokens_for_what_has_come(
    tmp_path: Path, shape: str
) -> None:
    tokenizer = tokenizer_with(tmp_path / "model", TEMPLATES[shape])
    renderer = TemplateRenderer(tokenizer)
    prompt = renderer.render_ids(ASKED, add_generation_prompt=True)
    extended = renderer.bridge_to_next_turn(prompt, ids(tokenizer, SAID[shape]), TALK[2:])
    assert extended is not None
    assert extended.token_ids == renderer.render_ids(TALK, add_generation_prompt=True)


def test_what_was_sampled_stays_where_the_template_would_change_it_later(tmp_path: Path) -> None:
    tokenizer = tokenizer_with(tmp_path / "model", QWEN)  # which strips the thoughts of earlier turns
    renderer = TemplateRenderer(tokenizer)
    prompt = renderer.render_ids(ASKED, add_generation_prompt=True)
    sampled = ids(tokenizer, "<think>so</think>b<|im_end|>")
    extended = renderer.bridge_to_next_turn(prompt, sampled, TALK[2:])
    assert extended is not None
    assert extended.token_ids[: len(prompt) + len(sampled)] == [*prompt, *sampled]
    said = tokenizer.decode(extended.token_ids[len(prompt) + len(sampled) :])
    assert said == "\n<|im_start|>user\nc?<|im_end|>\n<|im_start|>assistant\n"


def test_a_turn_that_was_cut_is_closed_as_the_template_closes_it(tmp_path: Path) -> None:
    tokenizer = tokenizer_with(tmp_path / "model", LLAMA)
    renderer = TemplateRenderer(tokenizer)
    prompt = renderer.render_ids(ASKED, add_generation_prompt=True)
    extended = renderer.bridge_to_next_turn(prompt, ids(tokenizer, "b"), TALK[2:])
    assert extended is not None
    assert extended.token_ids == renderer.render_ids(TALK, add_generation_prompt=True)


@pytest.mark.parametrize("template", [NO_TALK, UPPER])
def test_a_template_that_cannot_be_extended_is_rendered_anew(tmp_path: Path, template: str) -> None:
    renderer = TemplateRenderer(tokenizer_with(tmp_path / "model", template))
    assert renderer.bridge_to_next_turn([1], [2], TALK[2:]) is None


def test_words_of_another_assistant_are_no_continuation(tmp_path: Path) -> None:
    renderer = TemplateRenderer(tokenizer_with(tmp_path / "model", LLAMA))
    assert renderer.bridge_to_next_turn([1], [2], TALK[1:]) is None


def test_tool_calls_are_read_from_the_text_around_them_and_broken_ones_are_told_apart(tmp_path: Path) -> None:
    tokenizer = tokenizer_with(tmp_path / "model", QWEN)
    text = 'hm <tool_call>{"name": "f", "arguments": {"x": 1}}</tool_call><tool_call>{"nam</tool_call><|im_end|>'
    parsed = TemplateRenderer(tokenizer).parse_response(ids(tokenizer, text), tools=[{}])
    assert parsed.content == "hm"
    call, broken = parsed.tool_calls
    assert (call.name, call.arguments, call.status) == ("f", {"x": 1}, ToolCallParseStatus.OK)
    assert broken.status == ToolCallParseStatus.INVALID_JSON


@pytest.mark.parametrize(
    "call", ["[" * 20_000, '{"name": ""}', '{"name": null}', '{"name": "\\ud800"}', '{"name": bad}']
)
def test_a_call_that_is_none_stays_in_the_text_that_the_reward_sees(tmp_path: Path, call: str) -> None:
    tokenizer = tokenizer_with(tmp_path / "model", QWEN)
    text = f"hm <tool_call>{call}</tool_call>"
    parsed = TemplateRenderer(tokenizer).parse_response(ids(tokenizer, text), tools=[{}])
    assert parsed.content == text
    assert [each.status for each in parsed.tool_calls] == [ToolCallParseStatus.INVALID_JSON]


def test_without_tools_nothing_is_taken_for_a_call(tmp_path: Path) -> None:
    tokenizer = tokenizer_with(tmp_path / "model", QWEN)
    text = '<tool_call>{"name": "f"}</tool_call>'
    parsed = TemplateRenderer(tokenizer).parse_response(ids(tokenizer, text))
    assert (parsed.content, parsed.tool_calls) == (text, [])


def test_the_renderer_of_a_known_family_can_be_named(tmp_path: Path) -> None:
    tokenizer = tokenizer_with(tmp_path / "model", QWEN)
    assert isinstance(make_renderer("dir", tokenizer, None), TemplateRenderer)
    assert type(make_renderer("dir", tokenizer, {"name": "default"})).__name__ == "DefaultRenderer"
    with pytest.raises(UserError, match=r"task\.args\.renderer = .*'qwen9'"):
        make_renderer("dir", tokenizer, {"name": "qwen9"})


def test_a_model_without_a_chat_template_has_nothing_to_say(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no chat template"):
        make_renderer("dir", tokenizer_with(tmp_path / "model", None), None)
