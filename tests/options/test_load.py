"""From files and options to one configuration, and what is said when they make none."""

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from launcher.config.run import RLConfig, RunConfig, SFTConfig
from launcher.errors import UserError
from launcher.options.fields import config_fields
from launcher.options.layer import Layer
from launcher.options.load import load, read_file, switch_sections
from tests.plans import rl, sft


def message(*layers: Layer) -> str:
    with pytest.raises(UserError) as caught:
        load(RLConfig, layers)
    return str(caught.value)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "request.toml"


# --- layers -----------------------------------------------------------------------------------------------------------


def test_keys_of_a_file_may_have_hyphens(file: Path) -> None:
    file.write_text('max-steps = 7\n[trainer.torchrun]\nlocal-ranks-filter = "0,2"\n[wandb.log-extras]\ninterval = 3\n')
    config = load(RLConfig, [read_file(file)])
    assert (config.max_steps, config.trainer.torchrun.local_ranks_filter) == (7, (0, 2))
    assert config.wandb.log_extras.interval == 3


def test_the_keys_of_free_tables_stay_as_they_are(file: Path) -> None:
    file.write_text('[trainer.env]\nMY-KEY = "a-b"\n[services.reward-model]\ncommand = ["true"]\n')
    config = load(SFTConfig, [read_file(file)])
    assert config.trainer.env == {"MY-KEY": "a-b"}
    assert list(config.services) == ["reward-model"]


def test_a_file_of_a_section_is_read_below_it(file: Path) -> None:
    file.write_text('nproc = 3\n[torchrun]\nrole = "learner"\n')
    layer = read_file(file, "trainer")
    assert layer.values == {"trainer": {"nproc": 3, "torchrun": {"role": "learner"}}}


# --- sections that may be absent --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "on"),
    [
        ({}, False),
        ({"wandb": True}, True),
        ({"wandb": False}, False),
        ({"wandb": {}}, True),
        ({"wandb": {"project": "x"}}, True),
        ({"wandb": {"enabled": False, "project": "x"}}, False),
        ({"wandb": {"log_extras": {"interval": 3}}}, True),
        ({"wandb": {"log_extras": False}}, False),
        ({"wandb": {"log_extras": {"samples": False, "distributions": False}}}, False),
    ],
)
def test_a_section_is_on_when_something_positive_is_said_of_it(values: dict[str, object], on: bool) -> None:
    assert load(RLConfig, [Layer(values)]).wandb.enabled is on


def test_a_section_that_was_off_is_switched_on_by_a_later_layer_and_off_again() -> None:
    off, on = Layer({"wandb": False}), Layer({"wandb": {"project": "x"}})
    assert load(RLConfig, [off, on]).wandb.enabled
    assert not load(RLConfig, [on, off]).wandb.enabled
    assert load(RLConfig, [on, off]).wandb.project == "x"


def test_a_negative_setting_leaves_a_section_that_is_on_by_default_on() -> None:
    config = load(RLConfig, [Layer({"wandb": {"enabled": True, "log_extras": {"samples": False}}})])
    assert config.wandb.log_extras.enabled
    assert not config.wandb.log_extras.samples


def test_switching_is_spelled_out_for_sections_within_sections() -> None:
    assert switch_sections(RLConfig, {"trainer": {"wandb": {"log_extras": True}}}) == {
        "trainer": {"wandb": {"enabled": True, "log_extras": {"enabled": True}}}
    }


# --- messages ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[trainer]\n\nnproz = 3\n", "request.toml:3: trainer.nproz: there is no such field; did you mean nproc?"),
        ("trainer.nproz = 3\n", "request.toml:1: trainer.nproz: there is no such field; did you mean nproc?"),
        ("\n[trainr]\nnproc = 3\n", "request.toml:2: trainr: there is no such field; did you mean trainer?"),
        (
            "[trainer]\nnproc = 2\n[trainer.wandb.log-extras]\nintervall = 3\n",
            "request.toml:4: trainer.wandb.log_extras.intervall: there is no such field; did you mean interval?",
        ),
        ("[log]\nxyzzy = 1\n", "request.toml:2: log.xyzzy: there is no such field; there are level, json"),
        ("max_steps = 'many'\n", "request.toml:1: max_steps = 'many': must be a whole number"),
        ("[trainer]\nnproc = 0\n", "request.toml:2: trainer.nproc = 0: must be a whole number from 1 to"),
        ("trainer = 3\n", "request.toml:1: trainer = 3: must be a table: [trainer], and its fields below that line"),
        (
            "[trainer]\ncommand = 'python \"a b\"'\n",
            'request.toml:2: trainer.command = \'python "a b"\': must be a list, such as ["python", "a b"]',
        ),
        ("# nproc\n[trainer]\nargs = 'x'\n", "request.toml:3: trainer.args = 'x': must be a list, such as [\"x\"]"),
        ("grace = 'soon'\n", "request.toml:1: grace = 'soon': not a duration; write 30s, 10m"),
        ("[services.r]\ncwd = 'x'\n", "services.r.command is missing"),
        ("[services.r]\ncommand = ['x']\ngpu = 1\n", "request.toml:3: services.r.gpu: there is no such field"),
        ("[trainer]\nmodule = 'a'\nscript = 'b'\n", "request.toml:1: trainer: module and script are both set"),
        (
            "[services.trainer]\ncommand = ['x']\n",
            "request.toml:1: services.trainer = 'trainer': trainer is a reserved name; choose another one",
        ),
        ("[services.'a/b']\ncommand = ['x']\n", "request.toml:1: services.a/b = 'a/b': a name has letters, digits,"),
        ("name = 'a b'\n", "request.toml:1: name = 'a b': a name has letters, digits,"),
    ],
)
def test_a_message_names_file_line_value_and_what_is_allowed(file: Path, text: str, expected: str) -> None:
    file.write_text(text)
    assert expected in message(read_file(file))


def test_all_mistakes_are_told_at_once(file: Path) -> None:
    file.write_text("seed = -1\n[trainer]\nnproz = 3\n")
    assert len(message(read_file(file)).splitlines()) == 2


def test_of_several_files_the_one_with_the_mistake_is_named(tmp_path: Path) -> None:
    first, second = tmp_path / "first.toml", tmp_path / "second.toml"
    first.write_text("seed = 1\n")
    second.write_text("\nseed = -1\n")
    assert f"{second}:2: seed = -1" in message(read_file(first), read_file(second))
    assert f"{second}:2: seed = -1" in message(read_file(second), Layer({"max_steps": 3}))


def test_a_message_about_several_fields_names_the_line_of_the_one_that_it_begins_with(file: Path) -> None:
    file.write_text("# x\nmax_steps = 7\n")
    with pytest.raises(UserError) as caught:
        sft("@", str(file), "train.py")
    assert str(caught.value).startswith(f"{file}:2: max_steps is for the reference workload")
    with pytest.raises(UserError) as caught:
        sft("--max-steps", "7", "train.py")
    assert str(caught.value).startswith("max_steps is for the reference workload")


def test_a_file_of_a_section_keeps_its_own_line_numbers_and_points_to_the_whole_runs_spelling(file: Path) -> None:
    file.write_text("\n\n[trainer]\nnproc = 1\n")
    text = message(read_file(file, "wandb"))
    assert f"{file}:3: wandb.trainer: there is no such field" in text
    assert "write @ FILE before --wandb" in text


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--nproc", "0"), "--nproc 0: must be a whole number from 1 to"),
        (("--trainer.nproc", "x"), "--nproc x: must be a whole number"),
        (("--filter-rank", "a"), "--filter-rank a: must be a whole number"),
        (("--wandb.mode", "loud"), "--wandb.mode loud: must be 'online', 'offline' or 'disabled'"),
        (("--on-hangup", "x"), "--on-hangup x: must be 'continue' or 'stop'"),
        (("--log.level", "LOUD"), "--log.level LOUD: must be 'TRACE'"),
        (("--tee", "9"), "--tee 9: must be 0 (none), 1 (stdout), 2 (stderr), 3 (both)"),
        (("--grace", "-3"), "--grace -3.0: must be greater than or equal to 0"),
        (("--name", "latest"), "--name latest: outputs/latest is the link to the newest run"),
        (("--trainer.env", "A"), "--trainer.env A: not of the form KEY=VALUE"),
        (("--trainer.command", ""), "--trainer.command: is empty; name a program"),
        (("--trainer.data.dataset", ""), "--trainer.data.dataset: must not be empty"),
        (("--trainer.module", "a", "--trainer.script", "b"), "--trainer: module and script are both set"),
    ],
)
def test_a_message_about_an_option_names_it_as_it_is_typed(arguments: tuple[str, ...], expected: str) -> None:
    with pytest.raises(UserError) as caught:
        sft(*arguments)
    assert str(caught.value).startswith(expected)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--no-inference",), "without inference, orchestrator.inference_url must say where the server is"),
        (("--orchestrator.inference-url", "http://x"), "add --no-inference"),
    ],
)
def test_rl_has_exactly_one_inference_server(arguments: tuple[str, ...], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        rl(*arguments)


@pytest.mark.parametrize(
    "url",
    ["", "localhost:8000", "http://", "http://a,,http://b", "http://a,", "http://a:99999", "ftp://a", "http://a b"],
)
def test_what_is_no_url_of_a_server_is_refused(url: str) -> None:
    with pytest.raises(UserError, match="is no server's URL; write http://HOST:PORT"):
        rl("--no-inference", "--orchestrator.inference-url", url)


@pytest.mark.parametrize(
    "url", ["http://a", "https://u:p@a.b:8000/v1/", "http://[fd00::3]:8002", "http://10.0.0.2:1, http://gpu_7:2/x"]
)
def test_urls_of_servers_are_taken(url: str) -> None:
    assert rl("--no-inference", "--orchestrator.inference-url", url).orchestrator.inference_url == url


def test_a_temperature_that_the_server_refuses_is_refused_at_the_start() -> None:
    with pytest.raises(UserError, match=r"orchestrator\.sampling\.temperature 2\.5: .*2"):
        rl("--orchestrator.sampling.temperature", "2.5")


def test_a_file_that_is_not_there_names_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "reinforce.toml").touch()
    with pytest.raises(UserError) as caught:
        read_file(tmp_path / "reinforced.toml")
    assert str(caught.value) == (
        f"{tmp_path}/reinforced.toml: there is no such file\n  in {tmp_path} there is: reinforce.toml"
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"[trainer\n", "not valid TOML: .*line 1"),
        (b"\xff\xfe", "not valid TOML"),
        (b"a = 1\na = 2\n", "not valid TOML"),
        (b"a = " + b"[" * 100_000, "not valid TOML: nested too deeply"),
        (b"a." * 10_000 + b"b = 1", "not valid TOML: nested too deeply"),
        (b"a = " + b"1" * 10_000, "not valid TOML"),
    ],
)
def test_a_file_that_is_no_toml_is_named(file: Path, content: bytes, expected: str) -> None:
    file.write_bytes(content)
    with pytest.raises(UserError, match=f"{file}: {expected}"):
        read_file(file)


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be read: .*directory"):
        read_file(tmp_path)


def test_a_pipe_is_read_once_and_its_lines_are_still_named(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("max_steps = 7\nmax_stepz = 8\n",))
    writer.start()
    layer = read_file(pipe)
    writer.join()
    assert f"{pipe}:2: max_stepz: there is no such field; did you mean max_steps?" in message(layer)


def test_a_file_without_an_end_is_refused() -> None:
    with pytest.raises(UserError, match="/dev/zero: cannot be read: is longer than"):
        read_file(Path("/dev/zero"))


# --- no words of pydantic's -------------------------------------------------------------------------------------------

PYDANTICS = re.compile(
    r"Input|instance of|unable to parse|valid (tuple|dict|integer|number|boolean|string|list)|dictionary"
)
WRONG = ("x\ty", -1.5, True, ["x", 1], {"x": 1}, float("nan"), 10**400, "", b"x")


@pytest.mark.parametrize("model", [RLConfig, SFTConfig])
def test_no_field_answers_in_words_of_pydantics(model: type[RunConfig]) -> None:
    said: set[str] = set()
    for field in config_fields(model):
        for wrong in WRONG:
            values: object = wrong
            for key in reversed(field.path):
                values = {key: values}
            with suppress_to(said):
                load(model, [Layer(values, Path("request.toml"))])  # type: ignore[arg-type]
    assert len(said) > 100
    assert [text for text in said if PYDANTICS.search(text)] == []


@contextmanager
def suppress_to(said: set[str]) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        said.add(str(error))
