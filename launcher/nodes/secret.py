"""The secret by which the launches of a run on several nodes know each other.

From `--join-secret-file`, from LAUNCH_JOIN_SECRET (a Slurm job draws one for itself), or, where all nodes share the
run's directory, from a file beside it that node 0 writes for as long as the nodes meet.
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
    """What this node knows."""

    key: bytes | None = None
    shared: Path | None = None  # where node 0 leaves one for the others

    def offer(self) -> "JoinSecret":
        """On node 0, if there is none: with one that is drawn for this run, where the others can read it."""
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
        """On node 0: all have met."""
        if self.shared:
            with suppress(OSError):
                self.shared.unlink(missing_ok=True)

    def read_shared(self) -> "JoinSecret":
        """With what node 0 has written, if that can be seen here."""
        if self.shared is None:
            return self
        with suppress(OSError, UserError):
            return JoinSecret(_read(self.shared, str(self.shared), follow=False), self.shared)
        return self


def join_secret(file: Path | None, environment: Mapping[str, str], nodes: Nodes, beside: Path | None) -> JoinSecret:
    """What this node was told; `beside` is a directory that all nodes share, None where that is not sure.

    Raises UserError when the file cannot be taken.
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
                raise UserError(f"{what}: others can read it", f"type: chmod 600 {path}")
            return _checked(file.read(LONGEST), what)
    except OSError as error:
        raise UserError(f"{what}: {error.strerror}", f"write one on all nodes: {DRAW}") from None


def _checked(text: bytes, what: str) -> bytes:
    secret = text.strip()
    if len(secret) < SHORTEST:
        raise UserError(
            f"{what}: a secret has {SHORTEST} characters or more, this one {len(secret)}", f"draw one: {DRAW}"
        )
    return secret
