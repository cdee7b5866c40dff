"""The secret by which the nodes' launches authenticate each other.

It comes from `--join-secret-file` or LAUNCH_JOIN_SECRET (a Slurm job draws its own). Without these, if all nodes share
the run's directory, node 0 writes a file beside it, and removes it when all nodes have joined.
"""

import hashlib
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from launcher.borders.files import open_regular
from launcher.errors import UserError
from launcher.plan.nodes import Nodes

VARIABLE = "LAUNCH_JOIN_SECRET"
SHORTEST, LONGEST = 16, 4096  # bytes
DRAW = 'python -c "import secrets; print(secrets.token_hex())"'


@dataclass(frozen=True)
class JoinSecret:
    """The secret as far as this node has it."""

    key: bytes | None = None
    shared: Path | None = None  # the file that node 0 writes for the others

    def offer(self) -> "JoinSecret":
        """On node 0: if there is no secret, draw one and write it where the others can read it."""
        if self.key or self.shared is None:
            return self
        drawn = secrets.token_hex().encode()
        try:
            self.shared.parent.mkdir(parents=True, exist_ok=True)
            self.shared.unlink(missing_ok=True)
            with os.fdopen(open_regular(self.shared, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(drawn)
        except OSError:
            return self
        return JoinSecret(drawn, self.shared)

    def withdraw(self) -> None:
        """On node 0, when the nodes have met: remove the file."""
        if self.shared:
            with suppress(OSError):
                self.shared.unlink(missing_ok=True)

    def read_shared(self) -> "JoinSecret":
        """The secret from node 0's file, if it can be read here."""
        if self.shared is None:
            return self
        with suppress(OSError, UserError):
            return JoinSecret(_read(self.shared, str(self.shared), follow=False), self.shared)
        return self


def join_secret(file: Path | None, environment: Mapping[str, str], nodes: Nodes, beside: Path | None) -> JoinSecret:
    """This node's secret. `beside` is a directory that all nodes share, or None if we do not know one.

    Raises UserError when the file cannot be used.
    """
    if file is not None:
        return JoinSecret(_read(file, f"--join-secret-file {file}"))
    if given := environment.get(VARIABLE):
        return JoinSecret(_checked(os.fsencode(given), VARIABLE))
    if beside is None:
        return JoinSecret()
    where = hashlib.sha256(f"{nodes.host}:{nodes.port}".encode()).hexdigest()[:12]
    return JoinSecret(shared=beside / f".join-{where}")


def _read(path: Path, what: str, follow: bool = True) -> bytes:
    try:
        with os.fdopen(open_regular(path, follow=follow), "rb") as file:
            status = os.fstat(file.fileno())
            if status.st_uid not in (os.geteuid(), 0) or status.st_mode & 0o077:
                raise UserError(f"{what}: other users can read it", f"type: chmod 600 {path}")
            return _checked(file.read(LONGEST), what)
    except OSError as error:
        raise UserError(f"{what}: {error.strerror}", f"write one on all nodes: {DRAW}") from None


def _checked(text: bytes, what: str) -> bytes:
    secret = text.strip()
    if len(secret) < SHORTEST:
        raise UserError(
            f"{what}: a secret needs {SHORTEST} characters or more, this one has {len(secret)}", f"draw one: {DRAW}"
        )
    return secret
