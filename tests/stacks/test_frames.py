"""What py-spy and faulthandler print, read back."""

import faulthandler
import json
import tempfile
import threading

import pytest

from launcher.stacks.frames import Frame, read_faulthandler, read_pyspy


def pyspy_thread(tid: int, name: str, active: bool, *frames: tuple[str, str, int]) -> dict[str, object]:
    shown = [{"name": function, "filename": file, "line": line} for function, file, line in frames]
    return {"os_thread_id": tid, "thread_name": name, "active": active, "frames": shown}


def test_the_main_thread_comes_first() -> None:
    side = pyspy_thread(8, "bg", True, ("run", "b.py", 1))
    main = pyspy_thread(7, "MainThread", False, ("A.step", "a.py", 3), ("<module>", "a.py", 9))
    threads = read_pyspy(json.dumps([side, main]), 7)
    assert [thread.name for thread in threads] == ["MainThread", "bg"]
    assert threads[0].frames == (Frame("A.step", "a.py", 3), Frame("<module>", "a.py", 9))
    assert [thread.waits for thread in threads] == [True, False]


def test_a_thread_without_frames_is_left_away() -> None:
    assert read_pyspy(json.dumps([pyspy_thread(7, "MainThread", True)]), 7) == ()


def test_what_is_no_json_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="Expecting value"):
        read_pyspy("", 7)


def test_what_faulthandler_writes_is_read_with_the_main_thread_first() -> None:
    entered, leave = threading.Event(), threading.Event()

    def wait_aside() -> None:
        entered.set()
        leave.wait()

    aside = threading.Thread(target=wait_aside)
    aside.start()
    entered.wait()
    with tempfile.TemporaryFile("w+") as file:
        faulthandler.dump_traceback(file, all_threads=True)
        file.seek(0)
        threads = read_faulthandler(file.read())
    leave.set()
    aside.join()
    here = "test_what_faulthandler_writes_is_read_with_the_main_thread_first"
    assert threads[0].frames[0].function == here
    assert threads[0].frames[0].file == __file__
    assert any(frame.function == "wait_aside" for thread in threads[1:] for frame in thread.frames)
