"""A traceback as people read it: Python's own output of real exceptions, and what surrounds it in a log."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import launcher
from launcher.failure.tracebacks import LONGEST, LONGEST_MESSAGE, condensed, find_traceback

SIMPLE = """Traceback (most recent call last):
  File "train.py", line 3, in <module>
    main()
ValueError: no such thing"""

CHAINED = f"""Traceback (most recent call last):
  File "train.py", line 1, in <module>
    open(path)
FileNotFoundError: x

During handling of the above exception, another exception occurred:

{SIMPLE}"""

CAUSED = CHAINED.replace(
    "During handling of the above exception, another exception occurred",
    "The above exception was the direct cause of the following exception",
)
SYNTAX_ERROR = """  File "train.py", line 1
    def
       ^
SyntaxError: invalid syntax"""
GROUP = """  + Exception Group Traceback (most recent call last):
  |   File "train.py", line 6, in main
  |     raise_both()
  | ExceptionGroup: several (2 sub-exceptions)
  +-+---------------- 1 ----------------
    | ValueError: 1
    +---------------- 2 ----------------
    | Traceback (most recent call last):
    |   File "train.py", line 9, in reader
    |     raise TypeError("x")
    | TypeError: x
    +------------------------------------"""
WITHOUT_FRAME = "Traceback (most recent call last):\nKeyboardInterrupt"
FORMS = {
    "simple": SIMPLE,
    "during handling": CHAINED,
    "direct cause": CAUSED,
    "syntax error": SYNTAX_ERROR,
    "group": GROUP,
    "without a frame": WITHOUT_FRAME,
}


def stderr_of(code: str, tmp_path: Path) -> str:
    """What Python itself prints of this program's end."""
    script = tmp_path / "mine.py"
    script.write_text(textwrap.dedent(code))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    return done.stderr


def frames(file: str, *functions: str) -> str:
    return "".join(f'  File "{file}", line {n}, in {name}\n    {name}({n})\n' for n, name in enumerate(functions))


def traceback(*parts: str) -> str:
    return "Traceback (most recent call last):\n" + "".join(parts) + "ValueError: no such thing"


# --- where it is ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ""),
        ("2026-01-01 00:00:00.000 | INFO     | step 1\n", "\n"),
        ("", "\n\nsome words of the shell\n"),
        ("", "\n2026-01-01 00:00:01.000 | ERROR    | bye\n"),
        ("", "\n[2026-01-01 00:00:01,000] torch.distributed.elastic: [ERROR] failed\n"),
        ("", "\nE0101 00:00:01.000 123 torch/distributed/elastic/multiprocessing/api.py:984] failed\n"),
        ("", "\n[W101 00:00:01.000 ProcessGroup.cpp:1] Warning: not destroyed\n"),
        (f"{SIMPLE.replace('no such', 'another')}\n2026-01-01 00:00:00.000 | INFO     | step 1\n", ""),
    ],
)
def test_the_last_traceback_is_found_whole_and_without_what_surrounds_it(form: str, before: str, after: str) -> None:
    assert find_traceback(before + form + after) == form


def test_a_traceback_behind_output_without_an_end_of_line_is_found() -> None:
    assert find_traceback(f"10%|# | 1/10 [00:01<00:09]{SIMPLE}\n") == SIMPLE
    assert find_traceback(f'if "{WITHOUT_FRAME.splitlines()[0]}" in text') == ""


def test_a_text_without_a_traceback_has_none() -> None:
    assert find_traceback("all is well\n") == ""


# --- how it is shown --------------------------------------------------------------------------------------------------


def test_the_exception_comes_before_its_frames() -> None:
    assert condensed(SIMPLE) == ["ValueError: no such thing", '  File "train.py", line 3, in <module>', "    main()"]


@pytest.mark.parametrize(("chain", "link"), [(CHAINED, "while handling"), (CAUSED, "caused by")])
def test_what_it_was_chained_to_comes_after_it(chain: str, link: str) -> None:
    assert condensed(chain) == [
        *condensed(SIMPLE),
        f"{link} FileNotFoundError: x",
        '  File "train.py", line 1, in <module>',
        "    open(path)",
    ]


def test_a_group_is_followed_by_its_parts() -> None:
    assert condensed(GROUP) == [
        "ExceptionGroup: several (2 sub-exceptions)",
        '  File "train.py", line 6, in main',
        "    raise_both()",
        "sub-exception 1: ValueError: 1",
        "sub-exception 2: TypeError: x",
        '  File "train.py", line 9, in reader',
        '    raise TypeError("x")',
    ]


def test_a_syntax_error_shows_its_place() -> None:
    assert condensed(SYNTAX_ERROR) == ["SyntaxError: invalid syntax", *SYNTAX_ERROR.splitlines()[:-1]]


def test_an_exception_without_a_frame_is_a_line() -> None:
    assert condensed(WITHOUT_FRAME) == ["KeyboardInterrupt"]


def test_what_a_worker_of_a_dataloader_has_raised_is_the_cause(tmp_path: Path) -> None:
    code = """
        message = "Caught ValueError in DataLoader worker process 0."
        header = 'Original Traceback (most recent call last):'
        original = header + '\\n  File "data.py", line 1, in f\\n    x\\nValueError: bad'
        raise ValueError(f"{message}\\n{original}")
    """
    shown = condensed(find_traceback(stderr_of(code, tmp_path)))
    assert shown[0] == "ValueError: Caught ValueError in DataLoader worker process 0."
    assert shown[-3:] == ["caused by ValueError: bad", '  File "data.py", line 1, in f', "    x"]


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("<frozen runpy>", "runpy"),
        ("/usr/lib/python3.11/asyncio/runners.py", "asyncio"),
        ("/venv/lib/python3.11/site-packages/torch/distributed/distributed_c10d.py", "torch.distributed"),
        (f"{Path(launcher.__file__).parent}/instrumentation/traceable.py", "launch"),
        (f"{Path(launcher.__file__).parent}/workload/entry.py", "launch"),
    ],
)
def test_frames_of_machinery_are_one_line_between_those_of_the_user(file: str, name: str) -> None:
    text = traceback(frames("mine.py", "a"), frames(file, "f", "g", "h"), frames("mine.py", "b"))
    assert condensed(text) == [
        "ValueError: no such thing",
        *frames("mine.py", "a").splitlines(),
        f"  ... {name}, 3 frames",
        *frames("mine.py", "b").splitlines(),
    ]


def test_the_reference_workloads_frames_are_shown_where_there_are_none_of_the_user() -> None:
    file = f"{Path(launcher.__file__).parent}/workload/training/learner.py"
    assert f'  File "{file}", line 0, in step' in condensed(traceback(frames(file, "step")))


def test_libraries_are_folded_once_there_are_too_many_lines() -> None:
    library = frames("/venv/lib/python3.11/site-packages/lib/x.py", *(f"f{n}" for n in range(20)))
    short = frames("/venv/lib/python3.11/site-packages/lib/x.py", "f")
    assert "    f(0)" in condensed(traceback(frames("mine.py", "a"), short))
    assert condensed(traceback(frames("mine.py", "a"), library)) == [
        "ValueError: no such thing",
        *frames("mine.py", "a").splitlines(),
        "  ... libraries, 20 frames",
    ]


@pytest.mark.parametrize("count", [11, 12, 13, 20, 23, 500])
def test_a_long_traceback_keeps_the_exception_and_the_innermost_frames_and_no_line_twice(count: int) -> None:
    text = traceback(frames("mine.py", *(f"f{n}" for n in range(count))))
    shown = condensed(text)
    assert shown[0] == "ValueError: no such thing"
    assert f"    f{count - 1}({count - 1})" in shown
    assert len(shown) <= LONGEST
    assert len(set(shown)) == len(shown)
    left_out = len(text.splitlines()) - 1 - (len(shown) - 1)
    assert (shown[-1] == f"... {left_out} more lines") == (count > 12)


def test_a_frame_that_recurs_is_shown_once_and_counted(tmp_path: Path) -> None:
    shown = condensed(stderr_of("def down(n):\n    return down(n + 1)\ndown(0)\n", tmp_path))
    assert shown[0].startswith("RecursionError: maximum recursion depth exceeded")
    assert sum("in down" in line for line in shown) == 1
    assert shown[-1].startswith("    (the same 99")


def test_many_chained_exceptions_keep_the_line_of_each(tmp_path: Path) -> None:
    code = """
        def fail(n):
            try:
                if n:
                    fail(n - 1)
            finally:
                raise ValueError(n)
        fail(8)
    """
    shown = condensed(stderr_of(code, tmp_path))
    assert shown[0] == "ValueError: 8"
    assert len(shown) <= LONGEST
    assert [f"while handling ValueError: {n}" in shown for n in range(8)] == [True] * 8


def test_of_a_message_of_many_lines_the_first_ones_are_shown() -> None:
    shown = condensed(SIMPLE + "".join(f"\nallowed: {n}" for n in range(100)))
    assert shown[LONGEST_MESSAGE - 1 : LONGEST_MESSAGE + 1] == ["allowed: 4", "... 95 more lines of this message"]


@pytest.mark.parametrize(
    "text",
    [
        "Traceback (most recent call last):",
        "Traceback (most recent call last):\n  File ",
        '  File "x", line 1\n\nSyntaxError: ',
        "  + Exception Group Traceback (most recent call last):",
        "  + Exception Group Traceback (most recent call last):\n  +-+---------------- 1 ----------------\n   |\n",
        "During handling of the above exception, another exception occurred:",
        "Original Traceback (most recent call last):\nx",
        "",
    ],
)
def test_a_torn_traceback_is_survived(text: str) -> None:
    assert isinstance(find_traceback(text), str)
    assert len(condensed(text)) <= LONGEST
