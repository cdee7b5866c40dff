"""`python` of components, `--k8s.python`: an interpreter is one word of a command line, and takes no options."""

import pytest

from launcher.errors import UserError
from tests.plans import rl, sft

OPTIONS = ("trainer.python", "inference.python", "services.a.python", "k8s.python")


def typed(option: str, text: str) -> None:
    common = ("--trainer.script", "t.py", "--services.a.command", "x", "--k8s.image", "i")
    rl(*common, f"--{option}", text)


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("python -u", "has options: name the interpreter alone, python"),
        ("/opt/my env/bin/python3.12 -X dev", "name the interpreter alone, /opt/my env/bin/python3.12"),
        ("python -m pdb", "name the interpreter alone, python"),
        ("conda run python", "is more than an interpreter: name it alone"),
        ("", "is empty; name an interpreter"),
        (" ", "is empty; name an interpreter"),
    ],
)
def test_a_command_line_in_its_place_is_refused_with_what_to_type(option: str, text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        typed(option, text)
    assert f"--{option}" in str(caught.value) and message in str(caught.value)


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("text", ["python3", "/opt/my env/bin/python", "/runs/a -1/venv", "venv/bin/pypy3", ".venv"])
def test_a_path_may_have_blanks_and_dashes_in_it(option: str, text: str) -> None:
    typed(option, text)


def test_the_images_python_is_not_in_a_home_that_pods_do_not_have() -> None:
    with pytest.raises(UserError, match="the pods know no ~"):
        sft("--k8s.image", "i", "--k8s.python", "~/venv/bin/python")
