"""What a run needs of the hub is asked for before anything starts, and what is wrong is one message."""

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from launcher.errors import UserError
from launcher.machine.hub import Unreachable, check_hub, without_hub
from launcher.machine.model_size import model_size
from launcher.plan.spec import OnHub
from tests.hub_server import TOKEN, Hub, serving

pytestmark = pytest.mark.timeout(300)  # the hub's client is imported anew for every question

CONFIG = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1, "vocab_size": 99}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    root = tmp_path_factory.mktemp("hub")
    files = {
        "model/config.json": json.dumps(CONFIG),
        "model/model.safetensors": "weights",
        "unloadable/config.json": json.dumps(CONFIG),
        "empty/README.md": "",
        "pairs/train.jsonl": '{"prompt": "a", "completion": "b"}\n',
        "questions/train.jsonl": '{"question": "a", "answer": "b"}\n',
        "several/one/train.jsonl": '{"prompt": "a", "completion": "b"}\n',
        "several/two/train.jsonl": '{"prompt": "a", "completion": "b"}\n',
        "several/README.md": "---\nconfigs:\n"
        "- config_name: one\n  data_files: one/*.jsonl\n- config_name: two\n  data_files: two/*.jsonl\n---\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    models = {f"acme/{name}": root / name for name in ("model", "unloadable", "empty")} | {"acme/gated": root / "model"}
    datasets = {f"acme/{name}": root / name for name in ("pairs", "questions", "several")}
    with serving(models, datasets | {"acme/gated-pairs": root / "pairs"}, ("acme/gated", "acme/gated-pairs")) as server:
        yield server


def model(name: str) -> OnHub:
    return OnHub("model", name)


def data(name: str, subset: str | None = None, split: str = "train") -> OnHub:
    return OnHub("dataset", json.dumps([name, subset, split]))


def check(hub: Hub, cache: Path, wanted: OnHub, **variables: str) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    check_hub(wanted, sys.executable, kept | hub.environment(cache) | variables)


def without(hub: Hub, cache: Path, wanted: OnHub, **variables: str) -> str | None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return without_hub([wanted], sys.executable, kept | hub.environment(cache) | variables)


def test_a_models_small_files_are_brought_for_the_plan_and_its_weights_are_not(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.served.clear()
    check(hub, tmp_path, model("acme/model"))
    assert hub.served == ["acme/model/config.json"]
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    size = model_size("acme/model")
    assert size is not None and size.vocabulary == 99


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("acme/none", "there is no model acme/none on the hub, or it is private"),
        ("acme/gated", "the model acme/gated is gated: you have no access to it"),
        ("acme/empty", "the model acme/empty on the hub has no config.json"),
        ("acme/unloadable", "the model acme/unloadable on the hub has no weights"),
    ],
)
def test_a_model_that_cannot_be_had_is_refused(hub: Hub, tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check(hub, tmp_path, model(name))


def test_a_token_opens_a_gated_model_and_a_wrong_one_is_told_from_a_wrong_name(hub: Hub, tmp_path: Path) -> None:
    check(hub, tmp_path, model("acme/gated"), HF_TOKEN=TOKEN)
    with pytest.raises(UserError, match="the hub does not accept your token"):
        check(hub, tmp_path / "other", model("acme/gated"), HF_TOKEN="hf_wrong")


def test_without_the_hub_a_model_in_the_cache_is_enough(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=r"not in the cache .*HF_HUB_OFFLINE is set"):
        check(hub, tmp_path, model("acme/model"), HF_HUB_OFFLINE="1")
    put_in_cache(tmp_path, "config.json", "model.safetensors")
    check(hub, tmp_path, model("acme/model"), HF_HUB_OFFLINE="1", HF_TOKEN="another-question")


def put_in_cache(cache: Path, *files: str) -> Path:
    """Files of acme/model. Returns their directory."""
    snapshot = cache / "hub" / "models--acme--model" / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0123")
    for name in files:
        (snapshot / name).touch()
    return snapshot


@contextmanager
def away(how: str) -> Iterator[str]:
    """The address of a hub that cannot be reached."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        if how == "hangs":
            yield url
            return
    if how == "is not there":
        yield url
        return
    with serving() as sick:
        sick.is_ill = True
        yield sick.url


@pytest.mark.parametrize("how", ["is not there", "answers 503", pytest.param("hangs", marks=pytest.mark.slow)])
def test_when_the_hub_cannot_be_reached_what_is_in_the_cache_will_do(hub: Hub, tmp_path: Path, how: str) -> None:
    wanted = model("acme/model")
    with away(how) as url:
        variables = {"HF_ENDPOINT": url}
        why = f"the hub at {url} answers 503" if how == "answers 503" else f"the hub cannot be reached at {url}"
        with pytest.raises(Unreachable, match=f"^{why}, and the model acme/model is not in the cache"):
            check(hub, tmp_path / "empty", wanted, **variables)
        assert without(hub, tmp_path / "empty", wanted, **variables) is None
        put_in_cache(tmp_path, "config.json", "model.safetensors")
        check(hub, tmp_path, wanted, **variables)
        note = without(hub, tmp_path, wanted, **variables)
    assert note == f"{why}, so the cache is used: acme/model"
    assert without(hub, tmp_path, wanted) is None


def test_a_mirror_that_has_nothing_but_files_is_a_hub(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "has_only_files", True)
    check(hub, tmp_path, model("acme/model"))
    with pytest.raises(UserError, match="there is no model acme/none on the hub"):
        check(hub, tmp_path, model("acme/none"))


def test_a_model_whose_download_was_broken_off_is_not_in_the_cache(hub: Hub, tmp_path: Path) -> None:
    snapshot = put_in_cache(tmp_path, "config.json", "model-1.safetensors")
    parts = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (snapshot / "model.safetensors.index.json").write_text(json.dumps(parts))
    with pytest.raises(Unreachable, match="is not in the cache"):
        check(hub, tmp_path, model("acme/model"), HF_HUB_OFFLINE="1")
    (snapshot / "model-2.safetensors").touch()
    check(hub, tmp_path, model("acme/model"), HF_HUB_OFFLINE="1", HF_TOKEN="another-question")


@pytest.mark.slow
@pytest.mark.skipif(find_spec("datasets") is None, reason="the extra data is not installed")
@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (data("acme/none"), "there is no data set acme/none on the hub, or it is private"),
        (data("acme/gated-pairs"), "the data set acme/gated-pairs is gated"),
        (data("acme/pairs", split="test"), "the data set acme/pairs has no split test\n  --trainer.data.split train"),
        (data("acme/questions"), "has the columns answer, question; SFT needs messages, or prompt and completion"),
        (data("acme/several"), r"has several subsets: which one\?\n  --trainer.data.subset one\|two"),
        (data("acme/several", "three"), "has no subset three"),
    ],
)
def test_a_data_set_that_cannot_be_learned_is_refused(hub: Hub, tmp_path: Path, wanted: OnHub, message: str) -> None:
    with pytest.raises(UserError) as raised:
        check(hub, tmp_path, wanted)
    assert raised.match(message)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("datasets") is None, reason="the extra data is not installed")
def test_of_a_data_set_any_part_of_a_split_of_a_subset_may_be_asked_for(hub: Hub, tmp_path: Path) -> None:
    check(hub, tmp_path, data("acme/pairs", split="train[:10%]"))
    check(hub, tmp_path, data("acme/several", "two"))
