import pytest
import torch

from launcher.errors import UserError
from launcher.workload.ranks import join_ranks, pick_device


def test_a_process_without_torchrun_is_the_only_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with join_ranks("cpu", 1.0) as ranks:
        assert (ranks.rank, ranks.count, ranks.is_first) == (0, 1, True)
        assert ranks.highest(3) == 3 and ranks.sum(torch.tensor([2.0])).tolist() == [2.0]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused_and_auto_does_without() -> None:
    assert pick_device("auto").type == "cpu"
    with pytest.raises(UserError, match="no GPU"):
        pick_device("cuda")
