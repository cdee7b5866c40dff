"""The part of the OpenAI completions protocol that the inference server speaks, with vLLM's additions for tokens.

A prompt is text or token ids, and `return_token_ids` adds to each choice the ids of its prompt and its own.
A list of seeds has one for each prompt, which then gives the same completions as in a request of its own.
Left out, and refused: streaming, top_p, penalties, echo, suffix. `logprobs` gives those of the sampled tokens and no
alternatives, under the distribution that was sampled from, temperature included.
"""

import time
import uuid
from bisect import bisect_right
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import JSONResponse

from launcher.borders.screen import in_one_line
from launcher.borders.values import AnyPath, Step
from launcher.config.serving import MOST_DRAWS
from launcher.workload.models.generate import Sampled
from launcher.workload.models.tokenizer import Tokenizer

MOST_COMPLETIONS = 4096  # of one request

B = TypeVar("B", bound="Body")
TokenIds = Annotated[list[Annotated[int, Field(ge=0, strict=True)]], Field(min_length=1)]


class RequestError(Exception):
    """A request that cannot be served: a message, the HTTP status, the field it is about, a code for programs."""

    def __init__(self, message: str, status: int = 400, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message, self.status, self.param, self.code = message, status, param, code

    def response(self) -> JSONResponse:
        """The error in OpenAI's shape."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        error = {"message": in_one_line(self.message), "type": kind, "param": self.param, "code": self.code}
        return JSONResponse({"error": error}, self.status)


class Body(BaseModel):
    """The JSON of a request; a field that it does not know is an error."""

    model_config = ConfigDict(extra="forbid")


def parse(model: type[B], body: bytes) -> B:
    """The request in an HTTP body. Raises RequestError when it is not one."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        param = ".".join(str(part) for part in first["loc"]) or None
        raise RequestError(f"{param or 'the request'}: {first['msg']}", param=param) from error


class CompletionRequest(Body):
    model: str
    prompt: str | TokenIds | Annotated[list[str] | list[TokenIds], Field(min_length=1)]
    n: int = Field(1, ge=1)
    temperature: float = Field(1.0, ge=0, le=2)
    max_tokens: int = Field(16, ge=1)
    logprobs: int | None = Field(None, ge=0, le=5)
    return_token_ids: bool = False
    seed: int | list[int] | None = None
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    user: str | None = None

    def check_size(self) -> None:
        """Raises RequestError for more completions or tokens than one request may ask for, or for too few seeds."""
        count = self.count
        if count > MOST_COMPLETIONS:
            message = f"{len(self.prompts)} prompts x n {self.n} are {count} completions; at most {MOST_COMPLETIONS}"
            raise RequestError(f"{message}: send several requests", param="n")
        if count * self.max_tokens > MOST_DRAWS:
            message = f"{count} completions x max_tokens {self.max_tokens} are more than {MOST_DRAWS} tokens"
            raise RequestError(f"{message}: ask for fewer, or send several requests", param="max_tokens")
        if isinstance(self.seed, list) and len(self.seed) != len(self.prompts):
            raise RequestError(f"{len(self.seed)} seeds for {len(self.prompts)} prompts", param="seed")

    @property
    def count(self) -> int:
        """How many completions it asks for."""
        return len(self.prompts) * self.n

    @property
    def prompts(self) -> Sequence[str | list[int]]:
        if isinstance(self.prompt, str):
            return [self.prompt]
        return [self.prompt] if isinstance(self.prompt[0], int) else self.prompt

    @property
    def stops(self) -> list[str]:
        return [self.stop] if isinstance(self.stop, str) else self.stop or []


class UpdateRequest(Body):
    path: AnyPath
    step: Step


class Text:
    """What the protocol says in words: texts of prompts to tokens, tokens to text."""

    def __init__(self, tokenizer: Tokenizer, ends: frozenset[int], vocabulary: int) -> None:
        self.tokenizer, self.ends, self.vocabulary = tokenizer, ends, vocabulary
        self._names: dict[int, str] = {}

    def tokens_of(self, prompt: str | list[int]) -> list[int]:
        """The prompt's token ids. Raises RequestError if there are none, or the model does not have one of them."""
        tokens: list[int] = self.tokenizer(prompt).input_ids if isinstance(prompt, str) else prompt
        if not tokens:
            raise RequestError("the prompt is empty: this model needs at least one token to begin with", param="prompt")
        if max(tokens) >= self.vocabulary:
            message = f"there is no token {max(tokens)}: the model's vocabulary has {self.vocabulary}"
            raise RequestError(message, param="prompt")
        return tokens

    def decode(self, tokens: list[int]) -> str:
        """The text of some tokens; special ones have none."""
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True))

    def decode_all(self, rows: list[list[int]]) -> list[str]:
        """The text of each row."""
        return [str(text) for text in self.tokenizer.batch_decode(rows, skip_special_tokens=True)]

    def name(self, token: int) -> str:
        """How a token alone is spelled."""
        if token not in self._names:
            self._names[token] = str(self.tokenizer.decode([token]))
        return self._names[token]

    def until_stop(self, tokens: list[int], text: str, stops: list[str]) -> tuple[list[int], str, bool]:
        """Tokens and text before the first of the stop texts, and whether there was one."""
        found = [at for stop in stops if stop and (at := text.find(stop)) >= 0]
        if not found:
            return tokens, text, False
        kept = bisect_right(range(len(tokens)), min(found), key=lambda count: len(self.decode(tokens[:count]))) - 1
        return tokens[:kept], text[: min(found)], True


def completion(
    request: CompletionRequest, text: Text, prompts: list[list[int]], sampled: list[Sampled], step: int
) -> dict[str, Any]:
    """The answer to a request: n choices for each prompt, in order, and in `system_fingerprint` the policy's step."""
    texts = text.decode_all([one.tokens for one in sampled])
    made, given = sum(len(one.tokens) for one in sampled), sum(map(len, prompts))
    choices = [
        {"index": index, **_choice(request, text, prompts[index // request.n], one, whole)}
        for index, (one, whole) in enumerate(zip(sampled, texts, strict=True))
    ]
    return {
        "id": f"cmpl-{uuid.uuid4().hex}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": request.model,
        "system_fingerprint": f"step-{step}",
        "choices": choices,
        "usage": {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made},
    }


def _choice(request: CompletionRequest, text: Text, prompt: list[int], sampled: Sampled, whole: str) -> dict[str, Any]:
    kept, words, is_stopped = text.until_stop(sampled.tokens, whole, request.stops)
    choice: dict[str, Any] = {"text": words, "logprobs": None}
    if request.logprobs is not None:
        choice["logprobs"] = {
            "tokens": [text.name(token) for token in kept],
            "token_logprobs": sampled.logprobs[: len(kept)],
            "top_logprobs": None,
            "text_offset": None,
        }
    if request.return_token_ids:
        choice |= {"prompt_token_ids": prompt, "token_ids": kept}
    is_ended = is_stopped or (bool(kept) and kept[-1] in text.ends)
    return choice | {"finish_reason": "stop" if is_ended else "length"}


def models(name: str, context: int) -> dict[str, Any]:
    """The list of the one model there is; its context is said as vLLM says it."""
    model = {"id": name, "object": "model", "created": 0, "owned_by": "launch", "max_model_len": context}
    return {"object": "list", "data": [model]}
