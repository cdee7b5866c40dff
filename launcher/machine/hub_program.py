"""Looks on the Hugging Face hub for what a run needs of it. A program of its own, in a component's environment:

    python -m launcher.machine.hub_program model Qwen/Qwen3-0.6B
    python -m launcher.machine.hub_program dataset '["HuggingFaceH4/no_robots", null, "train"]'  # id, subset, split

It prints {}, or what is wrong as {"error": …, "hint": …, "is_unreachable": …, "of": …}. Of a model it leaves the small
files in the hub's cache: its configuration, and those that have the chat template.
"""

import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

CONFIG = "config.json"
SMALL = ("tokenizer_config.json", "chat_template.jinja", "generation_config.json")
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
INDEX = ".index.json"  # the end of a file that names the parts
UNAUTHORIZED, TOO_MANY, BROKEN = 401, 429, 500  # the hub's answers; from BROKEN on it is not well
NO_HEAD = 501  # a mirror's, which may have only files
PATIENCE = 10.0  # seconds
LOGIN = "hf auth login, or export HF_TOKEN=…"


class Missing(Exception):
    """What is wrong, and what to type."""

    def __init__(
        self, message: str, hint: str | None = None, is_unreachable: bool = False, of: str | None = None
    ) -> None:
        """`of` names what the cache may have, where the hub cannot be reached."""
        super().__init__(message)
        self.answer = {"error": message, "hint": hint, "is_unreachable": is_unreachable, "of": of}


def check_model(name: str) -> None:
    """Raises Missing when the model is neither in the cache nor on the hub, or cannot be read."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        _reach()
        if _is_cached(name):
            return
        hf_hub_download(name, CONFIG)
        for file in SMALL:
            with suppress(EntryNotFoundError):
                hf_hub_download(name, file)
        has_weights = any(_is_there(name, file) for file in WEIGHTS)
    except Exception as error:  # of the hub, of the network, of the disk; there is no common class
        raise _why(error, "model", name) from error
    if not has_weights:
        raise Missing(f"the model {name} on the hub has no weights that transformers loads, such as {WEIGHTS[0]}")


def _is_cached(name: str) -> bool:
    """Whether nothing has to be downloaded."""
    from huggingface_hub import try_to_load_from_cache

    def has(file: str) -> bool:
        path = try_to_load_from_cache(name, file)
        if not isinstance(path, str) or not file.endswith(INDEX):
            return isinstance(path, str)
        return all(map(has, set(json.loads(Path(path).read_text())["weight_map"].values())))

    return has(CONFIG) and any(has(file) for file in WEIGHTS)


def _is_there(name: str, file: str) -> bool:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError

    try:
        get_hf_file_metadata(hf_hub_url(name, file))
    except EntryNotFoundError:
        return False
    return True


def check_dataset(name: str, subset: str | None, split: str) -> None:
    """Raises Missing when the data set, its subset or split is not there, or has no columns that SFT can use."""
    try:
        from datasets import load_dataset
        from datasets.utils.logging import disable_progress_bar
    except ImportError:
        raise Missing(f"the data set {name} needs the package datasets", "pip install 'launch-rl[data]'") from None
    disable_progress_bar()
    try:
        is_online = not Path(name).exists() and _reach()
        # without the hub all of it comes from the cache; else only the first record of it comes here
        splits = load_dataset(name, subset, streaming=is_online)
        rows = splits.get(_plain(split))
        columns = set() if rows is None else set(rows.column_names or next(iter(rows)))
    except Exception as error:  # of the hub, of the network, of the data's own form; there is no common class
        raise _subsets(error, name, subset) or _why(error, "data set", name) from error
    if rows is None:
        raise Missing(f"the data set {name} has no split {split}", f"--trainer.data.split {'|'.join(splits)}")
    if "messages" not in columns and not {"prompt", "completion"} <= columns:
        has = ", ".join(sorted(columns))
        what = f"the data set {name} has the columns {has}; SFT needs messages, or prompt and completion"
        raise Missing(what, "write a JSONL or Parquet file that has them, and name it: --data FILE")


def _plain(split: str) -> str:
    """The first split's name in `train[:10%]` and in `train+test`."""
    return split.partition("+")[0].partition("[")[0]


def _subsets(error: Exception, name: str, subset: str | None) -> Missing | None:
    """What to tell when it is the subset that is wrong."""
    from datasets import get_dataset_config_names

    if not isinstance(error, ValueError) or not str(error).startswith(("Config name is missing", "BuilderConfig ")):
        return None
    what = "several subsets: which one?" if subset is None else f"no subset {subset}"
    there = "|".join(get_dataset_config_names(name))
    return Missing(f"the data set {name} has {what}", f"--trainer.data.subset {there}")


def _reach() -> bool:
    """Whether there is a hub, which HF_HUB_OFFLINE denies. Raises what the client does when it cannot be reached.

    Asked for a file, the client would try for half a minute.
    """
    from huggingface_hub import get_session
    from huggingface_hub.constants import ENDPOINT, is_offline_mode
    from huggingface_hub.utils import hf_raise_for_status  # type: ignore[attr-defined]  # only there before 1.0

    if is_offline_mode():
        return False
    answer = get_session().head(ENDPOINT, timeout=PATIENCE)
    if answer.status_code >= BROKEN and answer.status_code != NO_HEAD:
        hf_raise_for_status(answer)
    return True


def _why(error: Exception, kind: str, name: str) -> Missing:
    from huggingface_hub import errors
    from huggingface_hub.constants import ENDPOINT, HF_HUB_CACHE, is_offline_mode

    causes = list(_causes(error))
    text = str(error).strip().partition("\n")[0]
    of_data = kind != "model"

    def among(*classes: type[BaseException]) -> Any:
        return next((cause for cause in causes if isinstance(cause, classes)), None)

    answered = among(errors.HfHubHTTPError)
    status = answered.response.status_code if answered is not None else 0
    if among(errors.GatedRepoError) or "is a gated dataset" in text:
        page = f"{ENDPOINT}/{'datasets/' if of_data else ''}{name}"
        return Missing(f"the {kind} {name} is gated: you have no access to it", f"ask for it at {page}, then: {LOGIN}")
    if status == UNAUTHORIZED and "credentials" in (answered.server_message or ""):
        return Missing("the hub does not accept your token", f"{LOGIN}; without one: unset HF_TOKEN")
    if among(errors.RepositoryNotFoundError) or status == UNAUTHORIZED or "doesn't exist on the Hub" in text:
        return Missing(f"there is no {kind} {name} on the hub, or it is private", f"for a private one: {LOGIN}")
    if among(errors.RemoteEntryNotFoundError):
        return Missing(f"the {kind} {name} on the hub has no {CONFIG}: transformers cannot load it")
    if is_offline_mode():
        what = f"the {kind} {name} is not in the cache ({HF_HUB_CACHE}), and HF_HUB_OFFLINE is set"
        load = f"from datasets import load_dataset; load_dataset({name!r})"  # `hf download` is not enough for it
        by_hand = f"python -c {shlex.quote(load)}" if of_data else f"hf download {name}"
        return Missing(what, f"unset HF_HUB_OFFLINE, or first: HF_HUB_OFFLINE=0 {by_hand}", is_unreachable=True)
    is_well = status < BROKEN and status != TOO_MANY
    if answered is not None and is_well:
        return Missing(f"the hub does not give the {kind} {name}: {text}")
    if not is_well or among(ConnectionError, TimeoutError, errors.LocalEntryNotFoundError) or _is_of_network(causes):
        what = f"the hub cannot be reached at {ENDPOINT}" if is_well else f"the hub at {ENDPOINT} answers {status}"
        return Missing(what, "check the network and HF_ENDPOINT", is_unreachable=True, of=f"the {kind} {name}")
    return Missing(f"the {kind} {name} cannot be read: {text or type(error).__name__}")


def _is_of_network(causes: list[BaseException]) -> bool:
    clients = ("httpx", "httpx2", "httpcore", "requests")
    return any(type(cause).__module__.partition(".")[0] in clients for cause in causes)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def main() -> None:
    kind, asked = sys.argv[1:]
    try:
        if kind == "model":
            check_model(asked)
        else:
            check_dataset(*json.loads(asked))
    except Missing as missing:
        answer = missing.answer
    else:
        answer = {}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
