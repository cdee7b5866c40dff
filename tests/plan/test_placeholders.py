"""{port} and the like."""

from pathlib import Path

import pytest

from launcher.borders.files import write_atomically
from launcher.config.toml import to_toml
from launcher.errors import UserError
from launcher.plan.placeholders import MEANING, expand
from tests.plans import component, plan_of, rl, sft

VALUES = {name: f"<{name}>" for name in MEANING}


@pytest.mark.parametrize("name", MEANING)
def test_each_placeholder_is_replaced(name: str) -> None:
    assert expand("trainer", f"--x={{{name}}}/{{{name}}}", VALUES) == f"--x=<{name}>/<{name}>"


@pytest.mark.parametrize("text", ["", "plain", '{"json": 1}', "{}", "{0}", "${HOME}", "{a b}", "{Upper}", "%(port)s"])
def test_other_braces_are_left_alone(text: str) -> None:
    assert expand("trainer", text, VALUES) == text


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("out/${name}/x", "out/${name}/x"),
        ("${oc.env:HOME,{name}}/{port}", "${oc.env:HOME,{name}}/<port>"),
        ("${a:${b}}", "${a:${b}}"),
        ("{{name}}", "{name}"),
        ("{{ name }} }} {{", "{ name } } {"),
        ("{{{name}}}", "{<name>}"),
        ('{"a": {"b": "{port}"}}', '{"a": {"b": "<port>"}}'),
        ('{{"a": {"b": 1}}}', '{"a": {"b": 1}}'),
        ("${ {port}", "${ <port>"),
        (r"log:\d{3}", r"log:\d{3}"),
    ],
)
def test_variables_of_others_stay_and_doubled_braces_are_literal(text: str, expanded: str) -> None:
    assert expand("trainer", text, VALUES) == expanded


TYPED = (
    "a=out/${name}/x",
    "{name}",
    "{prt}",
    "}}{{",
    "{{x}",
    '{"a": {"b": 1}}',
    "$${x}}",
    "",
    "a\tb\n\x01\x7f\r",
    "\udcff",
)


def test_what_follows_the_dashes_arrives_as_it_was_typed() -> None:
    assert component(plan_of(sft("--", *TYPED)), "trainer").argv[-len(TYPED) :] == TYPED


def test_what_followed_the_dashes_survives_the_repeats_of_a_run_byte_for_byte(tmp_path: Path) -> None:
    config, file = sft("--", *TYPED), tmp_path / "config.toml"
    for _ in range(3):
        write_atomically(file, to_toml(config))
        config = sft("@", str(file))
    assert component(plan_of(config), "trainer").argv[-len(TYPED) :] == TYPED


def test_what_follows_the_dashes_comes_after_the_arguments_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[trainer]\nargs = ["{name}"]\n')
    assert component(plan_of(sft("@", str(file), "--", "{name}")), "trainer").argv[-2:] == ("otter", "{name}")


def test_a_value_that_looks_like_a_placeholder_is_not_replaced_again() -> None:
    assert expand("trainer", "{output_dir}", VALUES | {"output_dir": "/a {port}"}) == "/a {port}"


def test_an_unknown_placeholder_names_those_that_exist() -> None:
    with pytest.raises(UserError, match=r"inference: \{prt\} is not a placeholder") as caught:
        expand("inference", "--port={prt}", VALUES)
    assert all(name in str(caught.value.hint) for name in MEANING)


def test_a_placeholder_without_a_value_in_this_run_is_refused() -> None:
    with pytest.raises(UserError, match=r"trainer: \{port\} .* has no value in this run"):
        plan_of(sft("--trainer.args", "{port}"))


def test_commands_arguments_variables_and_the_readiness_url_are_expanded() -> None:
    command = [f"--inference.command={word}" for word in ("vllm", "serve", "{model}", "--port", "{port}")]
    config = rl(
        *command,
        "--inference.takes-weights",
        "--inference.ready=http://127.0.0.1:{port}/health",
        "--inference.env=URL={inference_url}",
        "--model=/models/a b",
        "--trainer.args={config}",
        "--trainer.args={name}-{attempt}-{nproc}",
    )
    plan = plan_of(config, attempt=2)
    inference = component(plan, "inference")
    assert inference.argv == ("vllm", "serve", "/models/a b", "--port", "4321")
    assert inference.ready == "http://127.0.0.1:4321/health"
    assert inference.env["URL"] == "http://127.0.0.1:4321"
    assert component(plan, "trainer").argv[-2:] == ("/runs/otter/configs/trainer.toml", "otter-2-1")


SERVICE = {"name": "otter", "services.redis.port": "6379", "services.redis.url": "http://127.0.0.1:6379"}


@pytest.mark.parametrize(
    "text",
    [
        "{services.reds.port}",
        "{service.redis.port}",
        "{servics.redis.url}",
        "{ services.redis.port }",
        "{services.redis}",
    ],
)
def test_a_misspelt_placeholder_of_a_service_is_answered_with_those_that_there_are(text: str) -> None:
    with pytest.raises(UserError, match="is not a placeholder") as caught:
        expand("redis", f"--port={text}", SERVICE)
    assert caught.value.hint == "there are {services.redis.port}, {services.redis.url}"


@pytest.mark.parametrize("text", ["{services.{name}.port}", "{services.redis.port", "{services.${X}.port}"])
def test_a_placeholder_of_a_service_with_braces_in_it_or_without_an_end_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="a placeholder has no braces in it, and an end"):
        expand("redis", f"--port={text}", SERVICE)
