"""What happens to a run, as events that its policy hears."""

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

from launcher.plan.spec import Plan, ProcessSpec, Progress, Ranks, Role
from launcher.rundir import RunDir
from launcher.supervisor.rules.actions import (
    Action,
    Drain,
    Start,
)
from launcher.supervisor.rules.events import (
    Event,
    Exited,
    Started,
)
from launcher.supervisor.rules.policy import Policy
from launcher.supervisor.rules.suspicion import Suspect

ROLES = {
    "trainer": Role.FINISHES,
    "orchestrator": Role.FINISHES,
    "inference": Role.SERVES,
    "reward": Role.SERVES,
}
RL = ("trainer", "orchestrator", "inference")
SFT = ("trainer",)
SERVICE = ("trainer", "reward")
DRAIN = Drain(600.0)
TERMINATED = -signal.SIGTERM

CLOSED = Suspect("inference", "its port 8000 was closed")
ERROR = Suspect("inference", "its log had an error", is_certain=False)


def policy(components: tuple[str, ...] = RL, restarts: int = 0) -> Policy:
    """The policy of a run whose trainer has two ranks, before anything has started."""
    here = Path("/runs/otter")
    ranks = Ranks(2, (0,), here, restarts)
    processes = tuple(
        ProcessSpec(name, ("true",), ROLES[name], here, here / name, ranks=ranks if name == "trainer" else None)
        for name in components
    )
    progress = Progress("trainer", "loss", 10)
    return Policy(Plan("rl", "otter", RunDir(here), processes, (), progress, grace=30.0, drain_timeout=600.0))


def running(components: tuple[str, ...] = RL, restarts: int = 0) -> Policy:
    """The policy of a run whose components have all been started."""
    found = policy(components, restarts)
    assert start_all(found) == list(components)
    return found


def start_all(run: Policy, *events: Event) -> list[str]:
    """What is started at the beginning, or because of these events; every start succeeds."""
    actions = [action for event in events for action in run.on(event)] if events else run.begin()
    started = []
    while names := [action.component for action in actions if isinstance(action, Start)]:
        started += names
        actions = [action for name in names for action in run.on(Started(name, 100 + len(started)))]
    return started


def replay(on: Policy, *events: Event) -> list[Action]:
    """What is to be done after all of these, beside the starts, which succeed."""
    done: list[Action] = []
    for event in events:
        for action in on.on(event):
            done += replay(on, Started(action.component, 100)) if isinstance(action, Start) else [action]
    return done


def kinds(actions: list[Action]) -> list[type]:
    return [type(action) for action in actions]


def died(component: str, code: int = 1) -> Exited:
    return Exited(component, code)


def done(component: str) -> Exited:
    return Exited(component, 0)


def planned(**changes: dict[str, Any]) -> Policy:
    """The policy of an RL run in which some components differ from the usual."""
    plan = policy((*RL, "reward")).plan
    specs = tuple(replace(spec, **changes.get(spec.name, {})) for spec in plan.processes)
    return Policy(replace(plan, processes=specs))


def restartable(attempts: int = 1) -> Policy:
    run = running()
    run.restarts = attempts
    return run


def lost_its(server: Suspect, client: str = "orchestrator") -> Exited:
    """A client that fails while a server is dying."""
    return Exited(client, 1, (server,))
