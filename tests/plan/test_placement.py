"""Who gets which GPUs: the trainer first, inference after it unless it asks for the first ones, services last."""

from typing import Any

import pytest

from launcher.config.component import ServiceConfig
from launcher.errors import UserError
from launcher.plan.placement import Placement, Server, place

REFERENCE = Server(gpus=1, may_share=False, is_reference=True)
FOREIGN = Server(gpus=1, may_share=False, is_reference=False)
SHARING = Server(gpus=1, may_share=True, is_reference=False)


def names(count: int) -> tuple[str, ...]:
    return tuple(str(index) for index in range(count))


def placed(gpus: int, nproc: Any = None, server: Server | None = None, **services: int) -> Placement:
    return place(names(gpus), nproc, server, {name: service(count) for name, count in services.items()}, cpus=4)


def service(gpus: int = 0, share_gpus: bool = False) -> ServiceConfig:
    return ServiceConfig(command=("serve",), gpus=gpus, share_gpus=share_gpus)


@pytest.mark.parametrize(
    ("gpus", "nproc", "server", "trainer", "inference"),
    [
        # SFT: all of them
        (1, None, None, "0", ""),
        (2, None, None, "0 1", ""),
        (8, None, None, "0 1 2 3 4 5 6 7", ""),
        (8, 3, None, "0 1 2", ""),
        # RL: what inference leaves
        (2, None, REFERENCE, "0", "1"),
        (8, None, REFERENCE, "0 1 2 3 4 5 6", "7"),
        (8, None, FOREIGN, "0 1 2 3 4 5 6", "7"),
        (8, None, Server(4, False, False), "0 1 2 3", "4 5 6 7"),
        (8, 2, Server(2, False, True), "0 1", "2 3"),
        (8, 7, REFERENCE, "0 1 2 3 4 5 6", "7"),
        # too few for both
        (1, None, REFERENCE, "0", "0"),
        (1, None, SHARING, "0", "0"),
        (8, 8, REFERENCE, "0 1 2 3 4 5 6 7", "7"),
        (2, 2, Server(2, False, True), "0 1", "0 1"),
        (2, 2, Server(4, True, False), "0 1", "0 1"),
        # a server that wants none
        (2, None, Server(0, False, False), "0 1", ""),
    ],
)
def test_the_trainer_comes_first_and_inference_after_it(
    gpus: int, nproc: int | None, server: Server | None, trainer: str, inference: str
) -> None:
    placement = placed(gpus, nproc, server)
    assert " ".join(placement.trainer) == trainer
    assert " ".join(placement.inference) == inference
    assert placement.nproc == len(placement.trainer)


@pytest.mark.parametrize(
    ("gpus", "nproc", "count", "trainer", "inference", "reward"),
    [
        (8, None, 2, "2 3 4 5 6", "0 1", "7"),
        (8, 4, 2, "2 3 4 5", "0 1", "6"),
        (2, None, 1, "1", "0", None),
        (2, 2, 1, "0 1", "1", None),  # too few for both: shared, as without it
    ],
)
def test_inference_gets_the_first_gpus_where_it_is_asked_for(
    gpus: int, nproc: int | None, count: int, trainer: str, inference: str, reward: str | None
) -> None:
    server = Server(count, False, True, comes_first=True)
    placement = placed(gpus, nproc, server, **({"reward": 1} if reward else {}))
    assert [" ".join(given) for given in (placement.trainer, placement.inference)] == [trainer, inference]
    assert placement.service("reward") == tuple((reward or "").split())


@pytest.mark.parametrize(("nproc", "ranks"), [(None, 1), (1, 1), (8, 8)])
@pytest.mark.parametrize("server", [None, REFERENCE, FOREIGN])
def test_without_gpus_any_number_of_ranks_runs_on_the_cpu(nproc: int | None, ranks: int, server: Server | None) -> None:
    assert placed(0, nproc, server, reward=1) == Placement(ranks)


@pytest.mark.parametrize(
    ("gpus", "word", "ranks", "trainer"),
    [(8, "gpu", 7, names(7)), (8, "auto", 7, names(7)), (8, "cpu", 4, ()), (0, "auto", 4, ()), (0, "cpu", 4, ())],
)
def test_torchruns_words_for_the_number_of_ranks(gpus: int, word: str, ranks: int, trainer: tuple[str, ...]) -> None:
    placement = placed(gpus, word, REFERENCE)
    assert (placement.nproc, placement.trainer) == (ranks, trainer)
    assert len(placement.inference) == (1 if gpus else 0)


def test_ranks_on_gpus_are_refused_where_there_is_none() -> None:
    with pytest.raises(UserError, match="--nproc gpu: there is no GPU here"):
        placed(0, "gpu")


def test_sharing_is_said_with_the_gpus_it_concerns() -> None:
    assert placed(1, None, REFERENCE).notes == ("inference shares GPU 0 with the trainer: there is 1 GPU",)
    assert placed(2, None, REFERENCE).notes == ()


def test_foreign_inference_does_not_share_unless_it_says_so() -> None:
    with pytest.raises(UserError, match=r"inference.gpus = 1, and the trainer leaves 0 of 1 GPU") as caught:
        placed(1, None, FOREIGN)
    assert "--inference.share-gpus" in str(caught.value.hint)


@pytest.mark.parametrize(("gpus", "nproc"), [(1, 2), (2, 3), (8, 9)])
def test_more_ranks_than_gpus_are_refused(gpus: int, nproc: int) -> None:
    with pytest.raises(UserError, match=rf"--nproc {nproc}: there (is|are) {gpus} GPU") as caught:
        placed(gpus, nproc)
    assert caught.value.hint == f"--nproc can be 1 to {gpus}"


def test_services_come_last_and_are_left_room_for() -> None:
    placement = placed(8, None, REFERENCE, reward=2, judge=1)
    assert placement.trainer == names(4)
    assert placement.inference == ("4",)
    assert (placement.service("reward"), placement.service("judge")) == (("5", "6"), ("7",))


def test_a_service_without_gpus_gets_none() -> None:
    assert placed(2, None, None, proxy=0).service("proxy") == ()


def test_a_service_for_which_nothing_is_left_is_refused() -> None:
    with pytest.raises(UserError, match=r"services.reward.gpus = 2, and the others leave 1 of 4 GPUs"):
        placed(4, 3, None, reward=2)


@pytest.mark.parametrize(
    "gpus",
    [
        ("GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", "GPU-1f2e"),
        ("MIG-GPU-8932f937/1/0", "MIG-7c0e"),
        ("3", "1"),
    ],
)
def test_gpus_keep_their_names_and_their_order(gpus: tuple[str, ...]) -> None:
    placement = place(gpus, None, REFERENCE, {})
    assert (placement.trainer, placement.inference) == (gpus[:1], gpus[1:])


@pytest.mark.parametrize("gpus", range(1, 9))
@pytest.mark.parametrize("wanted", range(4))
def test_nobody_gets_a_gpu_twice_unless_a_note_says_so(gpus: int, wanted: int) -> None:
    server = Server(wanted, False, True)
    placement = placed(gpus, None, server)
    together = placement.trainer + placement.inference
    assert (len(set(together)) < len(together)) == bool(placement.notes)
    assert set(together) <= set(names(gpus))


def test_a_service_may_use_the_trainers_gpus() -> None:
    services = {"ray": service(share_gpus=True), "judge": service(2, share_gpus=True), "reward": service(1)}
    placement = place(names(8), None, None, services)
    assert placement.trainer == names(7)
    assert placement.service("ray") == names(7)
    assert placement.service("judge") == ("5", "6")
    assert placement.service("reward") == ("7",)


def test_a_service_cannot_share_more_gpus_than_the_trainer_has() -> None:
    with pytest.raises(UserError, match=r"services.judge.gpus = 3 with share_gpus, and the trainer has 2 GPUs"):
        place(names(8), 2, None, {"judge": service(3, share_gpus=True)})


def test_a_service_that_is_refused_is_told_of_sharing() -> None:
    with pytest.raises(UserError) as caught:
        placed(4, 4, None, reward=2)
    assert "--services.reward.share-gpus" in str(caught.value.hint)
