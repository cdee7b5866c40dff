"""`--services.NAME.FIELD` on the command line."""

import shlex

import pytest

from launcher.errors import UserError
from tests.plans import component, machine, plan_of, rl, sft, train

REDIS = ("--services.redis.command", "redis-server --port {services.redis.port}")


def test_a_command_is_split_as_a_shell_would_and_its_options_stand_anywhere() -> None:
    words = ("--services.my-db.command=run 'a b' \"c\"", "--services.my-db.env", "A=b=c", "--services.my-db.env=D=")
    for config in (rl(*words), sft("--nproc", "2", *words), train(*words, "train.py", "--services.x.y")):
        service = config.services["my-db"]
        assert (service.command, service.env) == (("run", "a b", "c"), {"A": "b=c", "D": ""})


def test_the_other_fields_are_written_as_those_of_any_component() -> None:
    words = (
        "--services.a.b.args",
        "-x",
        "--services.a.b.args=y z",
        "--services.a.b.may_exit",
        "--services.a.b.gpus",
        "2",
    )
    service = sft("--services.a.b.command", "run", *words).services["a.b"]
    assert (service.args, service.may_exit, service.gpus) == (("-x", "y z"), True, 2)
    assert not sft("--services.r.command", "run", "--no-services.r.may-exit").services["r"].may_exit


def test_an_option_changes_what_a_file_says_of_the_service(tmp_path: object) -> None:
    from pathlib import Path

    file = Path(str(tmp_path), "run.toml")
    file.write_text('[services.judge]\ncommand = ["judge"]\ngpus = 1\nready = "log:up"\n')
    service = sft("@", str(file), "--services.judge.gpus", "2").services["judge"]
    assert (service.command, service.gpus, service.ready) == (("judge",), 2, "log:up")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--services.r.comand", "x"), "no option --services.r.comand\n  did you mean --services.r.command?"),
        (("--services.r.xyzzy", "x"), "a service has command"),
        (("--services.command", "x"), "which service?"),
        (("--services.r.command",), "--services.r.command needs a value"),
        (("--services.r.command", "a 'b"), "No closing quotation"),
        (("--services.r.command", ""), "--services.r.command: is empty; name a program"),
        (("--services.r.command", "''"), "--services.r.command: is empty; name a program"),
        (("--services.r.may-exit=false",), "takes no value\n  write --services.r.may-exit or --no-services.r.may-exit"),
        (("--services.r.gpus", "1"), "services.r.command is missing"),
        (("--services.trainer.command", "x"), "trainer is a reserved name"),
        (("--services.r.command", "x", "--services.r.port", "65536"), "--services.r.port 65536: must be less than"),
        (("--services.r.command", "x", "--services.r.env", "A"), "not of the form KEY=VALUE"),
    ],
)
def test_what_can_be_no_service_is_one_message(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError) as caught:
        rl(*words)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("command", "operator"),
    [
        ("a | b", "|"),
        ("a && b", "&&"),
        ("cd x; b", "x;"),
        ("a > log", ">"),
        ("a >> log 2>&1", ">>"),
        ("a 2>&1", "2>&1"),
        ("a >log", ">log"),
        ("a 2>'my log'", "2>my log"),
        ("a &>/dev/null", "&>/dev/null"),
        ("'a b'; c", "a b;"),
    ],
)
def test_what_only_a_shell_could_carry_out_is_refused_with_how_to_have_one(command: str, operator: str) -> None:
    with pytest.raises(UserError) as caught:
        sft("--services.r.command", command)
    assert caught.value.message == f"--services.r.command {command}: {operator} is for a shell, and none reads it"
    typed = str(caught.value.hint).partition(": ")[2]
    assert sft(*shlex.split(typed)).services["r"].command == ("sh", "-c", command)


def test_the_same_characters_in_quotes_or_within_a_word_are_the_programs() -> None:
    words = ("grep", "|", "a;", "http://x/?a=1&b=2", ">", "x|y", "--set", "A=1", "--k=v | w", "", "<eos>", ">=2")
    text = "grep '|' \"a;\" http://x/?a=1&b=2 \\> x|y --set A=1 --k=\"v | w\" '' <eos> >=2"
    assert sft("--services.r.command", text).services["r"].command == words


def test_a_variable_before_the_program_is_refused_with_the_option_that_sets_it() -> None:
    for option in ("--services.r", "--trainer"):
        with pytest.raises(UserError, match="begins with a variable, and no shell reads it") as caught:
            train(f"{option}.command", "A='b c' B=2 python x.py C=3")
        assert caught.value.hint == f"type {option}.env 'A=b c' {option}.env B=2"
    assert train("--trainer.command", "'A=b' x").trainer.command == ("A=b", "x")


def test_every_component_is_told_where_a_service_is() -> None:
    config = train(*REDIS, "--trainer.args", "{services.redis.url}", "--trainer.script", "train.py")
    plan = plan_of(config, machine(service_ports={"redis": 4567}))
    assert component(plan, "redis").argv == ("redis-server", "--port", "4567")
    assert component(plan, "trainer").argv[-1] == "http://127.0.0.1:4567"
    named = sft(*REDIS, "--services.redis.port", "6379", "--services.redis.ready", "tcp://x:{services.redis.port}")
    redis = component(plan_of(named), "redis")
    assert (redis.argv[-1], redis.ready) == ("6379", "tcp://x:6379")


@pytest.mark.parametrize("word", ["{services.radis.port}", "{services.redis.host}", "{services.redis}"])
def test_a_place_that_no_service_has_is_answered_with_those_that_there_are(word: str) -> None:
    with pytest.raises(UserError, match="is not a placeholder") as caught:
        plan_of(train(*REDIS, "--trainer.args", word, "--trainer.script", "x"), machine(service_ports={"redis": 1}))
    assert caught.value.hint == "there are {services.redis.port}, {services.redis.url}"
