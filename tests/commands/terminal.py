"""Types a command line into this process: a tenth of the time of a `launch` of its own."""

import pytest

from launcher.cli import _exit_code


class Terminal:
    """Not one: stdout and stderr are pipes, so to speak."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture

    def __call__(self, *words: str, exit_code: int = 0) -> str:
        """What the command line has printed; after a wrong request, what it has said on stderr."""
        self._capture.readouterr()
        found = _exit_code(list(words))
        out, error = self._capture.readouterr()
        assert found == exit_code, f"exit code {found}:\n{out}\n{error}"
        return error if exit_code == 2 else out
