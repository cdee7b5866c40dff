"""What is asked of the supervisor of a living run, and its answer: one JSON line each."""

from pydantic import BaseModel, ConfigDict

from launcher.borders.values import Name, Phrase

LONGEST = 4096  # bytes of a line


class Request(BaseModel):
    model_config = ConfigDict(extra="forbid", defer_build=True)

    restart: Name  # the component


class Reply(BaseModel):
    model_config = ConfigDict(extra="ignore", defer_build=True)

    refusal: Phrase | None = None  # None: it is done
