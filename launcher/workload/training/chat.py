"""Which tokens of a conversation are learned: the assistant's, and the token that ends its turn.

Many templates mark them with {% generation %}. For those that do not, the conversation is rendered up to each of the
assistant's turns, and what the whole has beyond is what the assistant says.
"""

import re
from typing import Any

import numpy as np

from launcher.borders.problems import Messages, Prompt
from launcher.errors import UserError
from launcher.workload.models.tokenizer import Tokenizer
from launcher.workload.training.examples import Example

MARKED = re.compile(r"\{%-?\s*generation\s*-?%\}")
Span = tuple[int, int]


def example_of(tokenizer: Tokenizer, prompt: Prompt, completion: str | Messages) -> Example:
    """A prompt, which is read, and a completion, which is learned with its end. Raises UserError."""
    if isinstance(prompt, str) and isinstance(completion, str):
        before = list(tokenizer(prompt).input_ids)
        if tokenizer.eos_token_id is None:
            raise UserError("the tokenizer has no end of sequence (eos_token), which ends a completion")
        after = [*tokenizer(completion, add_special_tokens=False).input_ids, tokenizer.eos_token_id]
        return Example(np.array(before + after, np.int32), np.array([False] * len(before) + [True] * len(after)))
    asked = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    said = [{"role": "assistant", "content": completion}] if isinstance(completion, str) else completion
    return chat_example(tokenizer, [*asked, *said], first=len(asked))


def chat_example(tokenizer: Tokenizer, messages: Messages, first: int = 0) -> Example:
    """A conversation, of which the assistant's turns are learned from the message `first` on. Raises UserError."""
    if not tokenizer.chat_template:
        hint = "give prompt and completion as text, or use a chat model"
        raise UserError("the data has messages, but the model's tokenizer has no chat template", hint)
    turns = [index for index, one in enumerate(messages) if one["role"] == "assistant" and index >= first]
    if not turns:
        raise UserError("the conversation has no turn of the assistant to learn from")
    if MARKED.search(tokenizer.chat_template) and not first:
        return _marked(tokenizer, messages)
    text = _render(tokenizer, messages)
    return _within(tokenizer, text, [_span(tokenizer, messages, turn, text) for turn in turns])


def _marked(tokenizer: Tokenizer, messages: Messages) -> Example:
    found = _apply(tokenizer, messages, return_dict=True, return_assistant_tokens_mask=True)
    return Example(np.array(found["input_ids"], np.int32), np.array(found["assistant_masks"], np.bool_))


def _span(tokenizer: Tokenizer, messages: Messages, turn: int, text: str) -> Span:
    """Where in the rendered conversation the assistant says this message."""
    before = _render(tokenizer, messages[:turn], add_generation_prompt=True)
    until = _render(tokenizer, messages[: turn + 1])
    if not text.startswith(before):
        raise _disagrees(turn)
    if text.startswith(until):
        return len(before), _without_space(tokenizer, text, len(before), len(until))
    # some templates render the last turn differently: Qwen 3 shows that it has not been thinking
    content = str(messages[turn].get("content") or "").strip()
    ending = until[until.rfind(content) + len(content) :]
    start = text.find(content, len(before))
    if not content or start < 0 or not text.startswith(ending, start + len(content)):
        raise _disagrees(turn)
    return len(before), _without_space(tokenizer, text, len(before), start + len(content) + len(ending))


def _without_space(tokenizer: Tokenizer, text: str, start: int, end: int) -> int:
    """The end of a turn without the line break that follows its end token in many templates: nobody samples that."""
    ends = start + len(text[start:end].rstrip())
    return ends if text[start:ends].endswith(tuple(tokenizer.get_added_vocab())) else end


def _within(tokenizer: Tokenizer, text: str, spans: list[Span]) -> Example:
    """The tokens of a text; learned are those that begin in one of the spans."""
    if not tokenizer.is_fast:
        raise UserError("the model's tokenizer is a slow one, and its chat template has no {% generation %}")
    found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    learned = [any(start <= at < end for start, end in spans) for at, _ in found["offset_mapping"]]
    return Example(np.array(found["input_ids"], np.int32), np.array(learned, np.bool_))


def _render(tokenizer: Tokenizer, messages: Messages, add_generation_prompt: bool = False) -> str:
    return str(_apply(tokenizer, messages, tokenize=False, add_generation_prompt=add_generation_prompt))


def _apply(tokenizer: Tokenizer, messages: Messages, **how: Any) -> Any:
    try:
        return tokenizer.apply_chat_template(messages, **how)
    except Exception as error:  # whatever the template's own code raises
        raise UserError(f"the model's chat template refuses the conversation: {error}") from error


def _disagrees(turn: int) -> UserError:
    hint = "mark the assistant's tokens in the template by {% generation %} … {% endgeneration %}"
    return UserError(f"the chat template renders message {turn + 1} differently when others follow", hint)
