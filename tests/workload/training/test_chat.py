"""Golden tokenizations: what is read, and in ⟦…⟧ what is learned."""

from itertools import groupby
from pathlib import Path

import pytest

from launcher.errors import UserError
from launcher.workload.models.tokenizer import Tokenizer
from launcher.workload.training.chat import chat_example, example_of
from launcher.workload.training.examples import Example
from tests.workload.training.templates import GEMMA, LLAMA, MARKED, QWEN, tokenizer_with

USER, OTHER = {"role": "user", "content": "2+3?"}, {"role": "user", "content": "And 4?"}
SAID, LATER = {"role": "assistant", "content": "5 é"}, {"role": "assistant", "content": "9"}
ONE, TWO = [USER, SAID], [USER, SAID, OTHER, LATER]


def shown(tokenizer: Tokenizer, example: Example) -> str:
    runs = groupby(zip(example.tokens.tolist(), example.learned.tolist(), strict=True), key=lambda pair: pair[1])
    texts = [(learned, tokenizer.decode([token for token, _ in run])) for learned, run in runs]
    return "".join(f"⟦{text}⟧" if learned else text for learned, text in texts)


GOLDEN = {
    "qwen": (
        QWEN,
        "<|im_start|>user\n2+3?<|im_end|>\n<|im_start|>assistant\n⟦<think>\n\n</think>\n\n5 é<|im_end|>⟧\n",
        "<|im_start|>user\n2+3?<|im_end|>\n<|im_start|>assistant\n⟦5 é<|im_end|>⟧\n"
        "<|im_start|>user\nAnd 4?<|im_end|>\n<|im_start|>assistant\n⟦<think>\n\n</think>\n\n9<|im_end|>⟧\n",
    ),
    "llama": (
        LLAMA,
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n2+3?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n⟦5 é<|eot_id|>⟧",
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n2+3?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n⟦5 é<|eot_id|>⟧"
        "<|start_header_id|>user<|end_header_id|>\n\nAnd 4?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n⟦9<|eot_id|>⟧",
    ),
    "gemma": (
        GEMMA,
        "<bos><start_of_turn>user\n2+3?<end_of_turn>\n<start_of_turn>model\n⟦5 é<end_of_turn>⟧\n",
        "<bos><start_of_turn>user\n2+3?<end_of_turn>\n<start_of_turn>model\n⟦5 é<end_of_turn>⟧\n"
        "<start_of_turn>user\nAnd 4?<end_of_turn>\n<start_of_turn>model\n⟦9<end_of_turn>⟧\n",
    ),
    "marked": (
        MARKED,
        "<|im_start|>user\n2+3?<|im_end|>\n<|im_start|>assistant\n⟦5 é<|im_end|>⟧\n",
        "<|im_start|>user\n2+3?<|im_end|>\n<|im_start|>assistant\n⟦5 é<|im_end|>⟧\n"
        "<|im_start|>user\nAnd 4?<|im_end|>\n<|im_start|>assistant\n⟦9<|im_end|>⟧\n",
    ),
}


@pytest.mark.parametrize("shape", GOLDEN)
def test_the_assistants_words_and_the_end_of_its_turn_are_learned(tmp_path: Path, shape: str) -> None:
    template, one, two = GOLDEN[shape]
    tokenizer = tokenizer_with(tmp_path / "model", template)
    assert shown(tokenizer, chat_example(tokenizer, ONE)) == one
    assert shown(tokenizer, chat_example(tokenizer, TWO)) == two
    whole = tokenizer.apply_chat_template(TWO, return_dict=True)["input_ids"]
    assert chat_example(tokenizer, TWO).tokens.tolist() == whole  # as the template is meant to be tokenized


@pytest.mark.parametrize("shape", GOLDEN)
def test_of_prompt_and_completion_as_messages_only_the_completion_is_learned(tmp_path: Path, shape: str) -> None:
    template, _, two = GOLDEN[shape]
    tokenizer = tokenizer_with(tmp_path / "model", template)
    first, last = two.index("⟦"), two.rindex("⟦")
    expected = two[:first] + two[first:last].replace("⟦", "").replace("⟧", "") + two[last:]
    assert shown(tokenizer, example_of(tokenizer, TWO[:3], TWO[3:])) == expected
    assert shown(tokenizer, example_of(tokenizer, TWO[:3], "9")) == expected


def test_plain_text_ends_with_the_end_of_sequence(tmp_path: Path) -> None:
    tokenizer = tokenizer_with(tmp_path / "model", None)
    assert shown(tokenizer, example_of(tokenizer, "ab>", "ba")) == "<|end|>ab>⟦ba<|end|>⟧"


def test_messages_without_a_template_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no chat template"):
        chat_example(tokenizer_with(tmp_path / "model", None), ONE)


def test_a_conversation_in_which_the_assistant_is_silent_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no turn of the assistant"):
        chat_example(tokenizer_with(tmp_path / "model", LLAMA), [USER])


def test_a_template_that_rewrites_earlier_turns_is_refused(tmp_path: Path) -> None:
    rewriting = "{%- for message in messages -%}{{- loop.revindex ~ message.content -}}{%- endfor -%}"
    with pytest.raises(UserError, match="differently when others follow") as refused:
        chat_example(tokenizer_with(tmp_path / "model", rewriting), TWO)
    assert "{% generation %}" in str(refused.value)


def test_a_template_that_refuses_the_conversation_says_why(tmp_path: Path) -> None:
    strict = "{{- raise_exception('roles must alternate') -}}"
    with pytest.raises(UserError, match="roles must alternate"):
        chat_example(tokenizer_with(tmp_path / "model", strict), ONE)
