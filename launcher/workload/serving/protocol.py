"""The part of the OpenAI completions protocol that the inference server speaks.

Left out, and refused: streaming, prompts as tokens, top_p, penalties, echo, suffix. `logprobs` gives those of the
sampled tokens and no alternatives, under the distribution that was sampled from, temperature included.
"""

import time
import uuid
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import JSONResponse

from launcher.borders.screen import in_one_line
from launcher.borders.values import AnyPath, Step
from launcher.workload.generate import Sampled
from launcher.workload.tokens import END, decode, name

MOST_COMPLETIONS = 4096  # of one request

B = TypeVar("B", bound="Body")


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
    """The request in an HTTP body. Raises RequestError when it is none."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        param = ".".join(str(part) for part in first["loc"]) or None
        raise RequestError(f"{param or 'the request'}: {first['msg']}", param=param) from error


class CompletionRequest(Body):
    model: str
    prompt: str | Annotated[list[str], Field(min_length=1)]
    n: int = Field(1, ge=1, le=128)
    temperature: float = Field(1.0, ge=0, le=2)
    max_tokens: int = Field(16, ge=1)
    logprobs: int | None = Field(None, ge=0, le=5)
    seed: int | None = None
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    user: str | None = None

    def check_size(self) -> None:
        """Raises RequestError for more completions than one request may ask for."""
        count = len(self.prompts) * self.n
        if count > MOST_COMPLETIONS:
            message = f"{len(self.prompts)} prompts x n {self.n} are {count} completions; at most {MOST_COMPLETIONS}"
            raise RequestError(f"{message}: send several requests", param="n")

    @property
    def prompts(self) -> list[str]:
        return [self.prompt] if isinstance(self.prompt, str) else self.prompt

    @property
    def stops(self) -> list[str]:
        return [self.stop] if isinstance(self.stop, str) else self.stop or []


class UpdateRequest(Body):
    path: AnyPath
    step: Step


def completion(request: CompletionRequest, prompt_tokens: int, sampled: list[Sampled], step: int) -> dict[str, Any]:
    """The answer to a request: n choices for each prompt, in order, and in `system_fingerprint` the policy's step."""
    choices = [_choice(index, one, request) for index, one in enumerate(sampled)]
    made = sum(len(one.tokens) for one in sampled)
    return {
        "id": f"cmpl-{uuid.uuid4().hex}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": request.model,
        "system_fingerprint": f"step-{step}",
        "choices": choices,
        "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": made, "total_tokens": prompt_tokens + made},
    }


def _choice(index: int, sampled: Sampled, request: CompletionRequest) -> dict[str, Any]:
    kept, is_stopped = _until_stop(sampled.tokens, request.stops)
    logprobs = None
    if request.logprobs is not None:
        logprobs = {
            "tokens": [name(token) for token in kept],
            "token_logprobs": sampled.logprobs[: len(kept)],
            "top_logprobs": None,
            "text_offset": None,
        }
    is_ended = is_stopped or END in kept
    reason = "stop" if is_ended else "length"
    return {"index": index, "text": decode(kept), "finish_reason": reason, "logprobs": logprobs}


def _until_stop(tokens: list[int], stops: list[str]) -> tuple[list[int], bool]:
    """The tokens before the first of the stop texts, and whether there was one."""
    text = bytes(token for token in tokens if token != END)
    found = [at for stop in stops if stop and (at := text.find(stop.encode())) >= 0]
    return (tokens[: min(found)], True) if found else (tokens, False)


def models(name: str) -> dict[str, Any]:
    """The list of the one model there is."""
    return {"object": "list", "data": [{"id": name, "object": "model", "created": 0, "owned_by": "launch"}]}
