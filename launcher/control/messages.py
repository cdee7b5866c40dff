"""What is asked of the supervisor of a living run, and its answer: one JSON line each."""

from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator

from launcher.borders.values import Name, Phrase
from launcher.nodes.messages import LookAt

LONGEST = 4096  # bytes of a line that asks, and of an answer to `restart`
LONGEST_LOOKS = 1 << 27  # bytes of an answer to `look`


class Request(BaseModel):
    model_config = ConfigDict(extra="forbid", defer_build=True)

    restart: Name | None = None  # the component
    look: LookAt | None = None  # at the processes of all other nodes

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        if (self.restart is None) == (self.look is None):
            raise ValueError("ask for one thing")
        return self


class Reply(BaseModel):
    model_config = ConfigDict(extra="ignore", defer_build=True)

    refusal: Phrase | None = None  # None: it is done
    looks: tuple[str, ...] = ()  # see launcher.stacks.looks
