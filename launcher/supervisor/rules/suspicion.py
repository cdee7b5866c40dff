"""A client may fail because its server is dying. Then the culprit is the server, though it ends later."""

from dataclasses import dataclass

from launcher.failure.failure import Culprit


@dataclass(frozen=True)
class Suspect:
    """A server that was dying when something else failed."""

    component: str
    why: str  # "its port 8000 was closed"
    is_certain: bool = True  # it has failed even if it is still alive; an error in its log alone is not certain


@dataclass(frozen=True)
class Suspicion:
    """A failure that is held back until its suspects have ended or have had time to end."""

    culprit: Culprit
    suspects: tuple[Suspect, ...]

    def against(self, component: str) -> Suspect | None:
        """The suspicion against a component, if any."""
        return next((suspect for suspect in self.suspects if suspect.component == component), None)

    def explain(self, suspect: Suspect) -> str:
        """Why the suspect is the culprit, though the other component ended first."""
        return f"{suspect.why} before {self.culprit.component} failed"
