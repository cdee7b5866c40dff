"""A client that has failed may have died of its server, which is about to end as well: the server is to be named."""

from dataclasses import dataclass

from launcher.failure.failure import Culprit


@dataclass(frozen=True)
class Suspect:
    """A server that was dying when something else failed."""

    component: str
    why: str  # "its port 8000 was closed"
    is_certain: bool = True  # it has failed, whether it ends or not; a log alone does not prove that


@dataclass(frozen=True)
class Suspicion:
    """A failure that is not believed before its suspects have been waited for."""

    culprit: Culprit
    suspects: tuple[Suspect, ...]

    def against(self, component: str) -> Suspect | None:
        """What there is against a component."""
        return next((suspect for suspect in self.suspects if suspect.component == component), None)

    def explain(self, suspect: Suspect) -> str:
        """Why it is the suspect that is named, though the other one failed first."""
        return f"{suspect.why} before {self.culprit.component} failed"
