"""Each promise with failures as find_cause makes them: no process, no clock."""

from dataclasses import replace

import pytest

from launcher.failure.failure import STALLED, Failure
from launcher.failure.verdict import LONGEST_BACKOFF, Kind, Setback, judge, setback, used_up

FRAMES = """
  File "/home/you/train.py", line {line}, in step
    loss = model(batch)
"""


def failure(cause: str = "", what: str = "exit code 1", component: str = "trainer", rank: int | None = 0) -> Failure:
    return Failure(component, rank, what, cause, None, ())


def raised(error: str, line: int = 7, rank: int = 0) -> Failure:
    return failure(error + FRAMES.format(line=line), rank=rank)


def of(found: Failure, step: int | None = 5, lasted: float = 1.0) -> Setback:
    return setback(found, step, lasted)


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        (raised("ValueError: line 812 is empty"), "own error"),
        (failure(what="exit code 3"), "own error"),
        (failure("step 3, Connected", "exit code 1"), "own error"),
        (failure(what="SIGSEGV"), "native crash"),
        (failure(what="SIGABRT"), "native crash"),
        (failure(what="exit code 137"), "signal"),
        (failure(what="exit code 143"), "signal"),
        (failure("wandb: Network error (ConnectionResetError), retry\nfoo.yaml: missing key"), "own error"),
        (failure("step 3\nretry: Connection refused", "SIGTERM"), "signal"),
        (
            failure(
                "rank 0 waits\nits last lines:\n  [Rank 0] Watchdog caught collective operation timeout", "SIGABRT"
            ),
            "hang",
        ),
        (failure("terminate called after\n  what():  NCCL error in: x\nncclSystemError: x", "SIGABRT"), "network"),
        (raised("ValueError: the option 'out of memory' is unknown: Connection refused"), "own error"),
        (raised("ValueError: x\nthe disk of /data is full"), "full disk"),
        (raised("ConfigError: a policy for 'out of memory' is needed"), "own error"),
        (raised("RuntimeError: CUDA error: out of memory"), "out of memory"),
        (
            raised("RuntimeError: NCCL error in: x.cpp:9, unhandled cuda error, Cuda failure 2 'out of memory'"),
            "out of memory",
        ),
        (raised("RuntimeError: unable to write to file </torch_7_1_0>: No space left on device (28)"), "out of memory"),
        (
            raised("RuntimeError: DataLoader worker (pid 7) is killed by signal: Bus error. out of shared memory"),
            "out of memory",
        ),
        (
            raised(
                "torch.distributed.DistBackendError: NCCL error in: x, invalid usage\nncclInvalidUsage: Duplicate GPU"
            ),
            "own error",
        ),
        (raised("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"), "out of memory"),
        (raised("MemoryError"), "out of memory"),
        (failure("probably out of memory: the kernel's log names it", "SIGKILL"), "out of memory"),
        (failure("killed by SIGKILL, which launch did not send\nno sign that memory ran out: x", "SIGKILL"), "signal"),
        (failure("killed by SIGKILL\nits last lines:\n  NCCL error in: x", "SIGKILL"), "signal"),
        (failure(what="torchrun received SIGHUP"), "signal"),
        (failure(what="signal 40"), "signal"),
        (raised("OSError: [Errno 28] No space left on device: '/data/x'"), "full disk"),
        (raised("RuntimeError: write failed\nthe disk of /data/outputs is full"), "full disk"),
        (raised("torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp"), "network"),
        (raised("RuntimeError: [gloo/transport/tcp/pair.cc:547] Connection closed by peer [10.0.0.2]:1"), "network"),
        (raised("torch.distributed.DistNetworkError: The server socket has failed, EADDRINUSE"), "port taken"),
        (raised("OSError: [Errno 98] Address already in use"), "port taken"),
        (failure("rank 1 is in step", f"{STALLED} for 600s"), "hang"),
        (failure(what="its launch is gone", component="node 1", rank=None), "lost node"),
    ],
)
def test_failures_are_told_apart(found: Failure, kind: Kind) -> None:
    assert of(found).kind == kind


def test_an_error_that_only_a_frame_quotes_is_not_what_was_raised() -> None:
    quoted = failure('ValueError: x\n  File "/a.py", line 1, in f\n    raise OSError("No space left on device")')
    assert of(quoted).kind == "own error"


def test_the_same_error_with_other_numbers_on_another_rank_is_the_same() -> None:
    first, second = raised("ValueError: item 12 of 0x7f3a", 7, rank=0), raised("ValueError: item 13 of 0x99", 9, rank=3)
    assert judge([of(first)], of(second), 1.0).again is False


@pytest.mark.parametrize(
    "other",
    [
        raised("KeyError: 'x'"),
        raised("ValueError: there is no file"),
        replace(raised("ValueError: item 12"), component="orchestrator"),
        replace(raised("ValueError: item 12"), cause='ValueError: item 12\n  File "/b.py", line 7, in step'),
    ],
)
def test_another_error_is_tried_again(other: Failure) -> None:
    assert judge([of(raised("ValueError: item 12"))], of(other), 1.0).again


def test_exit_codes_are_told_apart_and_not_other_numbers() -> None:
    one, other = of(failure(what="exit code 1")), of(failure(what="exit code 75"))
    assert judge([one], other, 1.0).again
    assert not judge([one], one, 1.0).again
    late, later = of(failure(what="did not finish within 5s")), of(failure(what="did not finish within 6s"))
    assert not judge([late], later, 1.0).again


def test_memory_that_runs_out_elsewhere_in_the_program_is_another_failure() -> None:
    here = raised("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB")
    there = replace(here, cause=here.cause.replace("in step", "in evaluate"))
    assert judge([of(here)], of(there), 1.0).again
    assert not judge([of(here)], of(replace(here, cause=here.cause.replace("2.00", "3.50"))), 1.0).again


def test_errors_that_alternate_end_too() -> None:
    one, other = of(raised("ValueError: x")), of(raised("KeyError: 'x'"))
    assert not judge([one, other], one, 1.0).again


@pytest.mark.parametrize("found", [raised("MemoryError"), failure(what="SIGSEGV"), failure(what=f"{STALLED} for 60s")])
def test_memory_native_code_and_hangs_are_like_the_users_code(found: Failure) -> None:
    assert judge([], of(found), 1.0).again
    assert not judge([of(found)], of(found), 1.0).again
    assert judge([of(found)], of(found, step=6), 1.0).again


@pytest.mark.parametrize(
    "found", [failure(what="SIGKILL"), raised("RuntimeError: NCCL error"), raised("OSError: Address already in use")]
)
def test_what_comes_from_outside_is_tried_again_and_again(found: Failure) -> None:
    assert judge([of(found)] * 9, of(found), 1.0).again


@pytest.mark.parametrize(
    "found", [raised("OSError: No space left on device"), failure(what="its launch is gone", component="node 1")]
)
def test_a_full_disk_and_a_lost_node_are_not_tried_again(found: Failure) -> None:
    assert not judge([], of(found), 1.0).again


def test_without_known_steps_a_long_attempt_counts_as_progress_and_a_short_one_does_not() -> None:
    error = raised("ValueError: x")
    assert not judge([of(error, None)], of(error, None, lasted=60.0), 1.0).again
    assert judge([of(error, None)], of(error, None, lasted=3600.0), 1.0).again


def test_a_hang_without_known_steps_is_never_progress_however_long_it_took() -> None:
    hang = of(failure(what=f"{STALLED} for 600s"), None, lasted=7200.0)
    assert judge([], hang, 1.0).again
    assert not judge([hang], hang, 1.0).again


def test_an_attempt_that_made_no_step_at_all_has_not_moved() -> None:
    error = raised("ValueError: x")
    assert not judge([of(error, None)], of(error, 0, lasted=3600.0), 1.0).again
    assert judge([of(error, 0)], of(error, 1), 1.0).again


def test_the_pause_doubles_up_to_a_limit_and_begins_anew_after_progress() -> None:
    killed = of(failure(what="SIGKILL"))
    assert [judge([killed] * n, killed, 30.0).seconds for n in range(6)] == [30, 60, 120, 240, 300, LONGEST_BACKOFF]
    assert judge([killed] * 5, replace(killed, step=9), 30.0).seconds == 30
    assert judge([killed] * 5, killed, 900.0).seconds == 900
    assert judge([killed] * 5, killed, 0.0).seconds == 0


def test_a_verdict_says_what_was_decided_and_why() -> None:
    killed, error = of(failure(what="SIGKILL")), of(raised("ValueError: x"))
    assert judge([], killed, 30.0).text == "restarts in 30 s: signal: trainer rank 0: SIGKILL"
    assert judge([], killed, 90.0).text == "restarts in 1m 30s: signal: trainer rank 0: SIGKILL"
    assert judge([], error, 0.0).text == "restarts now: trainer rank 0: ValueError: x"
    again = "an earlier attempt failed in the same way, and no step was made since"
    assert judge([error], error, 0.0).text == f"no restart: trainer rank 0: ValueError: x; {again}"
    last = used_up(raised("ValueError: x"), 2)
    assert last.text == "no restart: trainer rank 0: ValueError: x; --max-restarts 2 is used up"
