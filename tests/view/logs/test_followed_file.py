"""What the console shows of the log that it follows."""

from pathlib import Path

from launcher.plan.spec import ProcessSpec, Ranks, Role
from launcher.view.logs.followed_file import FollowedLog
from tests.waiting import until

STAMP = "2026-11-23 03:10:0{}.000 | INFO    | "


def spec(directory: Path, *shown: int) -> ProcessSpec:
    ranks = Ranks(8, shown, directory) if shown else None
    return ProcessSpec("trainer", ("true",), Role.FINISHES, directory, directory / "trainer.log", ranks=ranks)


def write(directory: Path, text: str | bytes) -> None:
    with (directory / "trainer.log").open("ab") as file:
        file.write(text if isinstance(text, bytes) else text.encode())


def test_what_several_shown_ranks_log_alike_within_a_second_is_shown_once(tmp_path: Path) -> None:
    log = FollowedLog(spec(tmp_path, 1, 2, 3))
    for rank in (1, 2, 3):
        write(tmp_path, f"[trainer{rank}]:{STAMP.format(rank // 3)}loading\n")
    write(tmp_path, f"W1123 torchrun itself\n[trainer2]:{STAMP.format(4)}mine\n")
    assert log.new_lines(closing=False) == []
    assert log.holds
    assert log.new_lines(closing=True) == [
        f"[ranks 1-3]:{STAMP.format(0)}loading",
        "W1123 torchrun itself",
        f"[trainer2]:{STAMP.format(4)}mine",
    ]
    assert not log.holds


def test_lines_are_held_no_longer_than_a_second_and_what_comes_later_is_another(tmp_path: Path) -> None:
    log = FollowedLog(spec(tmp_path, 0, 1))
    write(tmp_path, "[trainer0]:saved\n")
    assert until(lambda: log.new_lines(closing=False)) == ["[trainer0]:saved"]
    write(tmp_path, "[trainer1]:saved\n")
    assert until(lambda: log.new_lines(closing=False)) == ["[trainer1]:saved"]


def test_every_line_is_shown_at_once_when_asked_for_and_of_one_rank(tmp_path: Path) -> None:
    write(tmp_path, "[trainer0]:alike\n[trainer1]:alike\n")
    assert FollowedLog(spec(tmp_path, 0, 1), every_line=True).new_lines(False) == [
        "[trainer0]:alike",
        "[trainer1]:alike",
    ]
    (tmp_path / "trainer.log").write_text("[trainer0]:twice\n[trainer0]:twice\n")
    assert FollowedLog(spec(tmp_path, 0)).new_lines(False) == ["[trainer0]:twice"] * 2


def test_halves_of_lines_are_put_together_by_rank_however_they_were_mixed(tmp_path: Path) -> None:
    log = FollowedLog(spec(tmp_path, 0, 1), every_line=True)
    write(tmp_path, "[trainer0]:the ha[trainer1]:another\n[trainer0]:l")
    assert log.new_lines(closing=False) == ["[trainer1]:another"]
    write(tmp_path, "f[trainer1]:torn")
    assert log.new_lines(closing=False) == []
    write(tmp_path, "[trainer0]: of it\n")
    assert log.new_lines(closing=False) == ["[trainer0]:the half of it"]
    assert log.new_lines(closing=True) == ["[trainer1]:torn"]


def test_a_character_that_was_read_in_two_parts_is_one(tmp_path: Path) -> None:
    log = FollowedLog(spec(tmp_path))
    write(tmp_path, "gr\u00fc\u00df".encode()[:3])
    assert log.new_lines(closing=False) == []
    write(tmp_path, "gr\u00fc\u00df\n".encode()[3:])
    assert log.new_lines(closing=False) == ["gr\u00fc\u00df"]
