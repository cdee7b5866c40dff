"""Files that the pods need beside the run's directory: on a volume, or else in the image."""

from pathlib import Path

import pytest

from launcher.config.run import Config
from launcher.errors import UserError
from launcher.k8s.files import check_files, notes_of_files
from tests.plans import machine, rl, sft, train

COMMON = (
    *("--k8s.image", "i", "--k8s.volumes", "data=claim:/data", "--k8s.volumes", "models=claim:/models:ro"),
    *("--services.a.command", "x"),
)
HERE, ON_VOLUME = Path("/home/me"), Path("/data/me")


def check(config: Config, cwd: Path = ON_VOLUME) -> None:
    check_files(config, machine(cwd=cwd))


def notes(config: Config, cwd: Path = ON_VOLUME, model: str = "") -> list[str]:
    return list(notes_of_files(config, machine(cwd=cwd, model_path=model)))


@pytest.mark.parametrize("option", ["--trainer.env-file", "--services.a.env-file"])
@pytest.mark.parametrize("path", ["/home/me/.env", "../../home/me/.env", "/data/../home/.env"])
def test_an_env_file_on_no_volume_is_refused_with_what_would_do(option: str, path: str) -> None:
    with pytest.raises(UserError) as caught:
        check(sft(*COMMON, option, path))
    assert caught.value.message == f"{option} {path}: the file is on no volume of the pods"
    assert (
        caught.value.hint == "move it to one (/data, /models), or put its variables into a Secret: --k8s.secrets NAME"
    )


def test_so_is_the_nodes_secret() -> None:
    with pytest.raises(UserError, match="--join-secret-file /home/me/key: the file is on no volume") as caught:
        check(sft(*COMMON, "--join-secret-file", "/home/me/key"))
    assert caught.value.hint == "move it to one (/data, /models)"


@pytest.mark.parametrize("path", [".env", "/data/.env", "/models/.env", "../you/.env"])
def test_a_file_on_a_volume_is_there_in_the_pods(path: str) -> None:
    check(sft(*COMMON, "--trainer.env-file", path))


def test_a_relative_path_needs_a_directory_that_the_pods_have() -> None:
    config = sft(*COMMON, "--trainer.env-file", "../../data/.env")
    with pytest.raises(UserError, match="so the pods have another") as caught:
        check(config, HERE)
    assert caught.value.hint == "type the whole path: /data/.env"
    check(sft(*COMMON, "--trainer.env-file", "data/.env"), Path("/"))  # a volume is mounted below it


def test_what_the_image_may_have_is_named() -> None:
    own = ("--trainer.script", "train.py", "--trainer.cwd", "/src", "--task.name", "/home/a b.jsonl")
    image = "on no volume, so the pods' image must have: --trainer.cwd /src, --trainer.script train.py"
    assert notes(sft(*COMMON, *own)) == [image + ", --task.name '/home/a b.jsonl'"]
    model = ("--model", "~/m", "--task", "/data/a.jsonl")
    assert notes(rl(*COMMON, *model), model="/home/me/m") == [
        "on no volume, so the pods' image must have: --model '~/m'"
    ]
    data = ("--data", "pairs.jsonl")
    assert notes(sft(*COMMON, *data), HERE) == ["on no volume, so the pods' image must have: --data pairs.jsonl"]


def test_what_is_on_a_volume_on_the_path_or_on_the_hub_is_not() -> None:
    assert notes(sft(*COMMON, "--data", "pairs.jsonl")) == []
    assert notes(train(*COMMON, "--no-python", "nvidia-smi"), HERE) == []
    assert notes(train(*COMMON, "-m", "pkg.train"), HERE) == []
    assert notes(sft(*COMMON, "--model", "a/b"), HERE, model="a/b") == []
    assert notes(sft(*COMMON, "--model", "m"), model="/models/m") == []


@pytest.mark.parametrize("directory", ["/tmp/logs", "/models/logs"])
def test_logs_that_would_be_lost_with_the_pods_are_said_so(directory: str) -> None:
    (note,) = notes(sft(*COMMON, "--log-dir", directory))
    assert note == f"--log-dir {directory} is on no volume that the pods can write to: it is lost with them"
    assert notes(sft(*COMMON, "--log-dir", "/data/logs")) == []
