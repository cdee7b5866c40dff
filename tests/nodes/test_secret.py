"""Where the secret of a run on several nodes comes from."""

from pathlib import Path

import pytest

from launcher.errors import UserError
from launcher.nodes.secret import VARIABLE, JoinSecret, join_secret
from launcher.plan.nodes import Nodes

NODES = Nodes(1, 2, 0, "gpu01", 29500)
TEXT = "0123456789abcdef"


def file(path: Path, text: str = TEXT, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_file_wins_over_the_variable_and_white_space_around_it_does_not_count(tmp_path: Path) -> None:
    given = file(tmp_path / "secret", f"{TEXT}\n")
    assert join_secret(given, {VARIABLE: "x" * 20}, NODES, tmp_path).key == TEXT.encode()
    assert join_secret(None, {VARIABLE: "x" * 20}, NODES, tmp_path).key == b"x" * 20


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_can_read_is_refused_with_what_to_type(tmp_path: Path, mode: int) -> None:
    with pytest.raises(UserError, match="other users can read it") as refused:
        join_secret(file(tmp_path / "secret", mode=mode), {}, NODES, None)
    assert "chmod 600" in str(refused.value)


def test_what_is_no_secret_is_refused(tmp_path: Path) -> None:
    for path, why in [
        (tmp_path / "none", "No such file"),
        (Path("/dev/null"), "not a regular file"),
        (file(tmp_path / "short", "abc"), "16 characters or more, this one has 3"),
    ]:
        with pytest.raises(UserError, match=why):
            join_secret(path, {}, NODES, None)


def test_node_0_leaves_one_where_all_share_a_directory_for_as_long_as_they_meet(tmp_path: Path) -> None:
    here, there = (join_secret(None, {}, NODES, tmp_path / "outputs") for _ in range(2))
    offered = here.offer()
    assert offered.key and there.read_shared().key == offered.key
    assert offered.shared and offered.shared.stat().st_mode & 0o777 == 0o600
    offered.withdraw()
    assert there.read_shared().key is None and not list((tmp_path / "outputs").iterdir())


def test_a_link_in_the_place_of_the_shared_file_is_not_followed(tmp_path: Path) -> None:
    offer = join_secret(None, {}, NODES, tmp_path)
    assert offer.shared
    offer.shared.symlink_to(file(tmp_path / "precious"))
    assert offer.read_shared().key is None
    assert offer.offer().key != TEXT.encode()
    assert (tmp_path / "precious").read_text() == TEXT


def test_without_any_there_is_none() -> None:
    assert join_secret(None, {}, NODES, None) == JoinSecret()
    assert JoinSecret().offer() == JoinSecret()
