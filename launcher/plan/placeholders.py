"""`{port}` and the like in a user's own command line."""

import re
from collections.abc import Mapping

from launcher.errors import UserError

MEANING = {
    "attempt": "the attempt, counted from 1",
    "config": "the component's own configuration file",
    "host": "the address that inference listens on",
    "inference_url": "the inference server's URL",
    "model": "trainer.model.checkpoint",
    "name": "the run's name",
    "nproc": "trainer ranks on this node",
    "output_dir": "the run's directory",
    "port": "the port that inference listens on",
    "python": "the component's Python, see `python`",
}
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


def expand(where: str, text: str, values: Mapping[str, str | None]) -> str:
    """`text` with its placeholders replaced. Raises UserError for one that is unknown, or has no value in this run."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in MEANING:
            raise UserError(f"{where}: {{{name}}} is not a placeholder", f"there are {', '.join(MEANING)}")
        found = values.get(name)
        if found is None:
            raise UserError(f"{where}: {{{name}}} ({MEANING[name]}) has no value in this run")
        return found

    return _PLACEHOLDER.sub(value, text)
