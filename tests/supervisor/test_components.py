"""What becomes of a component is posted, whatever happens."""

from dataclasses import replace
from pathlib import Path

import pytest

from launcher.supervisor.components import Components
from launcher.supervisor.rules.events import Event, NotStarted
from tests.plans import component, plan_of, rl


@pytest.mark.parametrize("argv", [("no-such-program",), ("true\0",)])
def test_a_component_that_cannot_be_started_for_any_reason_is_posted(tmp_path: Path, argv: tuple[str, ...]) -> None:
    posted: list[Event] = []
    spec = component(plan_of(rl(), root=tmp_path), "orchestrator")
    Components(posted.append).start(replace(spec, argv=argv))
    (event,) = posted
    assert isinstance(event, NotStarted)
    assert event.component == "orchestrator"
