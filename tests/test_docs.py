"""What is generated is current."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_configuration_reference_is_current() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "make_configuration.py"))["reference"]()
    current = (ROOT / "docs" / "configuration.md").read_text()
    assert current == made, "run: python docs/make_configuration.py"
