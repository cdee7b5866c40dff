"""What is generated is current."""

import re
import runpy
from pathlib import Path

from tests.test_architecture import ROOMS

ROOT = Path(__file__).parent.parent


def test_the_configuration_reference_is_current() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "make_configuration.py"))["reference"]()
    current = (ROOT / "docs" / "configuration.md").read_text()
    assert current == made, "run: python docs/make_configuration.py"


def test_the_picture_of_the_architecture_is_current() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "make_architecture_picture.py"))["picture"]()
    current = (ROOT / "docs" / "architecture.svg").read_text()
    assert current == made, "run: python docs/make_architecture_picture.py"


def test_the_architecture_page_names_every_room() -> None:
    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE)
    named = [name.strip("/") for row in rows for name in re.findall(r"`([^`]+)`", row)]
    assert named == [*ROOMS, "workload"]
