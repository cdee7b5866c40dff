"""The tutorial, as a reader does it: files saved, commands typed, from top to bottom."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.launching import LAUNCH

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.md"
BLOCK = re.compile(
    r'^(?P<mark><!-- not run here: .* -->\n)?```(?P<kind>sh|python)(?: title="(?P<title>[^"]+)")?\n(?P<text>.*?)^```$',
    re.MULTILINE | re.DOTALL,
)


def test_every_command_of_the_tutorial_works_in_the_order_in_which_it_is_written(tmp_path: Path) -> None:
    where = tmp_path / "it's a project"
    where.mkdir()
    own = {
        "PATH": f"{Path(LAUNCH).parent}:{os.environ['PATH']}",
        "XDG_STATE_HOME": str(tmp_path),
        "TMUX_TMPDIR": str(tmp_path),
    }
    said = []
    for block in BLOCK.finditer(TUTORIAL.read_text()):
        if block["kind"] == "python":
            (where / block["title"]).write_text(block["text"])
        elif not block["mark"]:
            done = subprocess.run(
                ["bash", "-euc", block["text"]], cwd=where, env=os.environ | own, capture_output=True, text=True
            )
            assert done.returncode == 0, block["text"] + done.stdout[-3000:] + done.stderr[-3000:]
            said.append(done.stdout + done.stderr)
    text = "".join(said)
    for promise in (
        "trainer rank 1: exit code 1",
        "ValueError: the file of rank 1 has no line 812",
        "exit code 1",
        "step 5 loss",
    ):
        assert promise in text
