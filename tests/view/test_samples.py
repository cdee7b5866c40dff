from typing import Any

from launcher.view.samples import ordered, samples_text

NO_NUMBERS = (10**400, -(10**4_000), float("nan"), float("inf"), True, "much", None)


def row(prompt: str, completion: str, **more: Any) -> dict[str, Any]:
    return {"prompt": prompt, "completion": completion} | more


def test_samples_of_one_prompt_stand_below_it() -> None:
    rows = [
        row("ab>", "ba", reward=1.0, advantage=0.5, tokens=3),
        row("ab>", "b", reward=0.5, advantage=-0.5, tokens=2),
        row("cd>", "two\nlines", reward=0),
    ]
    assert samples_text(rows, "calm-otter, step 3", colours=False) == (
        "calm-otter, step 3\n\n"
        "ab>\n\n"
        "  reward 1  advantage +0.5  3 tokens\n    ba\n\n"
        "  reward 0.5  advantage -0.5  2 tokens\n    b\n\n"
        "cd>\n\n"
        "  reward 0\n    two\n    lines\n"
    )


def test_control_characters_never_reach_the_screen() -> None:
    evil = "\x1b]0;title\x07\x1b[2J\r\u202e\x9b31m"
    for colours in (False, True):
        text = samples_text([row(f"p{evil}", f"c{evil}", reward=1)], f"t{evil}", colours)
        assert not {"\x07", "\r", "\u202e", "\x9b"} & set(text)
        assert "\x1b[2J" not in text and "\x1b]" not in text


def test_the_best_or_the_worst_come_first() -> None:
    rows = [row("p", name, reward=reward) for name, reward in [("a", 0.5), ("b", 1), ("c", None), ("d", "much")]]
    assert [each["completion"] for each in ordered(rows, "best")][:2] == ["b", "a"]
    assert [each["completion"] for each in ordered(rows, "worst")][-2:] == ["a", "b"]
    assert ordered(rows, None) == rows


def test_numbers_that_are_none_are_left_out() -> None:
    rows = [row("p", str(at), reward=value, advantage=value, tokens=value) for at, value in enumerate(NO_NUMBERS)]
    assert samples_text(rows, "t", colours=False).split() == ["t", "p", *map(str, range(len(rows)))]
    assert ordered([*rows, row("p", "best", reward=1)], "best")[0]["completion"] == "best"
