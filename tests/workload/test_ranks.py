import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from launcher.errors import UserError
from launcher.failure.torchrun_account import recorded_error
from launcher.workload.ranks import join_ranks, pick_device, recorded


def test_a_process_without_torchrun_is_the_only_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with join_ranks("cpu", 1.0) as ranks:
        assert (ranks.rank, ranks.count, ranks.is_first) == (0, 1, True)
        assert ranks.highest(3) == 3 and ranks.sum(torch.tensor([2.0])).tolist() == [2.0]


SLOW_FIRST = """
import os, sys, time
from dataclasses import replace
from pathlib import Path
from launcher.workload.ranks import join_ranks

said = Path(sys.argv[1])
with join_ranks("cpu", 200.0) as ranks:
    ranks = replace(ranks, timeout=2.0)
    ranks.from_first(int)  # after which the limit holds
    assert ranks.from_first(lambda: time.sleep(5) or 3) == 3
    end = time.monotonic() + 120
    while ranks.is_first and not said.exists() and time.monotonic() < end:
        time.sleep(0.05)
    if ranks.is_first:
        os._exit(0 if said.exists() else 1)  # a group whose collective has failed may abort at its end
    try:
        FOLLOWING
    except RuntimeError as error:
        said.write_text(str(error))
        os._exit(0)
"""


@pytest.mark.parametrize("following", ["ranks.highest(1)", "ranks.from_first(int, within=ranks.timeout)"])
def test_the_others_wait_for_what_the_first_rank_makes_as_long_as_it_takes_and_only_then(
    tmp_path: Path, following: str
) -> None:
    """The limit is 2 s. What is made takes 5, and then the first rank does not come to the next collective."""
    script, said = tmp_path / "slow_first.py", tmp_path / "said"
    script.write_text(SLOW_FIRST.replace("FOLLOWING", following))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--rdzv-backend=c10d"]
    command = [*torchrun, "--rdzv-endpoint=localhost:0", str(script), str(said)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    assert said.exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused_and_auto_does_without() -> None:
    assert pick_device("auto").type == "cpu"
    with pytest.raises(UserError, match="no GPU"):
        pick_device("cuda")


def record_of(error: Exception, directory: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(directory / "error.json"))

    @recorded
    def main() -> None:
        raise error

    with pytest.raises(type(error)):
        main()
    assert int(json.loads((directory / "error.json").read_text())["message"]["extraInfo"]["timestamp"]) > 0
    return recorded_error(directory)


def test_a_user_error_is_recorded_by_its_words_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = UserError("the batch is too small", "type a larger one")
    assert record_of(error, tmp_path, monkeypatch) == "the batch is too small\n  type a larger one"


def test_any_other_error_is_recorded_with_its_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = record_of(ValueError("no such thing"), tmp_path, monkeypatch)
    assert found.startswith("Traceback") and found.endswith("ValueError: no such thing")
