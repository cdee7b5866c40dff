"""The command line that DESIGN.md promises."""

from pathlib import Path

import pytest
from typer.exceptions import TyperException

from launcher.config.base import Section
from launcher.config.run import RLConfig, SFTConfig, TrainConfig
from launcher.errors import UserError
from launcher.options.command import section_names, split_arguments
from launcher.options.fields import config_fields
from launcher.options.flags import option_names
from launcher.options.meant import usage_message
from tests.plans import rl, sft, train, typed

SECTIONS = section_names(RLConfig)


def refused(*arguments: str) -> str:
    with pytest.raises((UserError, TyperException)) as caught:
        rl(*arguments)
    error = caught.value
    return usage_message(error) if isinstance(error, TyperException) else str(error)


def test_a_command_that_is_called_again_has_nothing_of_the_call_before() -> None:
    assert typed(SFTConfig, "--nproc", "2", "--trainer.env", "A=b").trainer.env == {"A": "b"}
    again = typed(SFTConfig)
    assert (again.trainer.nproc, again.trainer.env) == (None, {})


# --- spellings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["--nproc", "--nproc-per-node", "--trainer.nproc", "--nproc_per_node"])
def test_every_spelling_of_the_ranks_sets_one_field(option: str) -> None:
    assert rl(option, "8") == rl("--nproc", "8")
    assert rl(option, "8").trainer.nproc == 8


@pytest.mark.parametrize(
    "option",
    [
        "--filter-rank",
        "--local-ranks-filter",
        "--trainer.torchrun.local-ranks-filter",
        "--filter_rank",
        "--trainer.torchrun.local_ranks_filter",
    ],
)
def test_every_spelling_of_the_rank_filter_sets_one_field(option: str) -> None:
    assert sft(option, "1,3").trainer.torchrun.local_ranks_filter == (1, 3)


@pytest.mark.parametrize(
    ("short", "dotted", "value"),
    [
        ("--log-dir", "--trainer.torchrun.log-dir", "logs here"),
        ("--redirects", "--trainer.torchrun.redirects", "0:3,1:0"),
        ("--tee", "--trainer.torchrun.tee", "1"),
    ],
)
def test_torchruns_short_options_are_aliases(short: str, dotted: str, value: str) -> None:
    assert rl(short, value) == rl(dotted, value) != rl()


@pytest.mark.parametrize("model", [RLConfig, SFTConfig, TrainConfig])
def test_no_two_options_have_one_name(model: type[Section]) -> None:
    names = [name for field in config_fields(model) for name in option_names(field)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    "words",
    [
        ("-r", "0:3", "-t", "1", "-m", "pkg.train"),
        ("-r0:3", "-t1", "-mpkg.train"),
        ("-r=0:3", "-t=1", "--module=pkg.train"),
        ("--redirects", "0:3", "--tee", "1", "--module", "pkg.train"),
    ],
)
def test_torchruns_options_of_one_letter_are_read_as_torchrun_does(words: tuple[str, ...]) -> None:
    trainer = train(*words, "-r", "2", "-tx", "-mx").trainer
    assert (trainer.torchrun.redirects, trainer.torchrun.tee) == ("0:3", "1")
    assert (trainer.module, trainer.args) == ("pkg.train", ("-r", "2", "-tx", "-mx"))


@pytest.mark.parametrize("arguments", [("--nproc", "3", "--trainer.nproc", "4"), ("--nproc", "3", "--nproc", "4")])
def test_of_two_spellings_of_one_value_the_last_one_counts(arguments: tuple[str, ...]) -> None:
    assert rl(*arguments).trainer.nproc == 4


def test_the_rank_filter_may_be_repeated_or_empty() -> None:
    assert sft("--filter-rank", "0", "--filter-rank", "2,3").trainer.torchrun.local_ranks_filter == (0, 2, 3)
    assert sft("--filter-rank", "").trainer.torchrun.local_ranks_filter == ()


def test_defaults_are_those_of_the_contract() -> None:
    torchrun = rl().trainer.torchrun
    assert (torchrun.local_ranks_filter, torchrun.redirects, torchrun.tee) == ((0,), "3", "3")
    assert (rl().grace, rl().wandb.enabled, rl().tmux.enabled, rl().on_hangup) == (30.0, False, True, "continue")
    assert (rl().wandb.project, rl().wandb.log_extras.interval) == ("prime-rl", 10)


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30.0), ("2m", 120.0), ("0", 0.0)])
def test_durations_are_understood_on_the_command_line(text: str, seconds: float) -> None:
    assert sft("--grace", text).grace == seconds


def test_underscores_are_accepted_for_hyphens_but_not_changed_in_values() -> None:
    config = rl("--max_steps=3", "--no-trainer.wandb.log_extras.distributions", "--trainer.env", "A_B=c_d")
    assert config.max_steps == 3
    assert config.trainer.env == {"A_B": "c_d"}


def test_repeated_options_collect_their_values() -> None:
    config = rl("--trainer.args=--x", "--trainer.args", "a b", "--wandb.tags", "a", "--wandb.tags", "b,c")
    assert config.trainer.args == ("--x", "a b")
    assert config.wandb.tags == ("a", "b,c")


@pytest.mark.parametrize("component", ["trainer", "orchestrator", "inference"])
def test_a_command_is_one_text_split_as_a_shell_would_or_a_word_each_time(component: str) -> None:
    option = f"--{component}.command"
    for words in ((option, "serve 'a b' {port}"), (option, "serve", option, "a b", option, "{port}")):
        assert getattr(rl(*words, "--inference.takes-weights"), component).command == ("serve", "a b", "{port}")


def test_a_pair_may_have_an_equals_sign_in_its_value() -> None:
    assert rl("--trainer.env", "A=b=c", "--trainer.env", "D=").trainer.env == {"A": "b=c", "D": ""}


def test_what_follows_two_dashes_is_the_trainers() -> None:
    assert sft("--nproc", "2", "--", "--config", "@", "x.yaml").trainer.args == ("--config", "@", "x.yaml")


# --- sections that may be absent --------------------------------------------------------------------------------------


def test_wandb_is_on_with_its_defaults() -> None:
    config = rl("--wandb")
    assert config.wandb.enabled
    assert config.wandb.log_extras.enabled


def test_distributions_of_the_trainer_alone_are_switched_off() -> None:
    config = rl("--wandb", "--no-trainer.wandb.log-extras.distributions")
    trainer = config.trainer.wandb.over(config.wandb)
    orchestrator = config.orchestrator.wandb.over(config.wandb)
    assert (trainer.enabled, trainer.log_extras.enabled, trainer.log_extras.distributions) == (True, True, False)
    assert orchestrator.log_extras.distributions


def test_the_interval_of_the_orchestrator_alone_is_changed() -> None:
    config = rl("--wandb", "--orchestrator.wandb.log-extras.interval", "50")
    assert config.orchestrator.wandb.over(config.wandb).log_extras.interval == 50
    assert config.trainer.wandb.over(config.wandb).log_extras.interval == 10


@pytest.mark.parametrize(
    ("arguments", "on"),
    [
        (("--wandb.project", "x"), True),
        (("--wandb.log-extras.interval", "3"), True),
        (("--wandb.log-extras",), True),
        (("--no-wandb.log-extras",), False),
        (("--no-wandb.log-extras.samples",), False),
        (("--no-wandb", "--wandb.project", "x"), False),
        (("--wandb.project", "x", "--no-wandb"), False),
        (("--wandb", "--no-wandb"), False),
        (("--no-wandb", "--wandb"), True),
    ],
)
def test_a_positive_option_switches_its_section_on_a_negative_never_and_an_explicit_one_wins(
    arguments: tuple[str, ...], on: bool
) -> None:
    assert rl(*arguments).wandb.enabled is on


def test_a_positive_option_switches_the_inner_section_on_as_well() -> None:
    config = rl("--no-wandb.log-extras", "--wandb")
    assert not config.wandb.log_extras.enabled
    assert rl("--wandb.log-extras.samples").wandb.log_extras.enabled


def test_a_components_own_wandb_is_switched_off_by_itself() -> None:
    config = rl("--wandb", "--no-trainer.wandb")
    assert not config.trainer.wandb.over(config.wandb).enabled
    assert config.orchestrator.wandb.over(config.wandb).enabled


def test_inference_is_switched_off_for_a_server_elsewhere() -> None:
    config = rl("--no-inference", "--orchestrator.inference-url", "http://gpu7:8000")
    assert not config.inference.enabled


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.toml").write_text("seed = 1\nmax_steps = 1\n[trainer]\nnproc = 1\n[wandb]\nproject = 'x'\n")
    Path("b.toml").write_text("seed = 2\nwandb = false\n")
    Path("trainer.toml").write_text("nproc = 5\n")


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("arguments", [("@", "a.toml"), ("@a.toml",), ("@./a.toml",)])
def test_a_file_is_read_after_an_at_sign(arguments: tuple[str, ...]) -> None:
    config = rl(*arguments)
    assert (config.seed, config.trainer.nproc, config.wandb.enabled) == (1, 1, True)


@pytest.mark.usefixtures("files")
def test_later_files_win_over_earlier_ones() -> None:
    config = rl("@", "a.toml", "@", "b.toml")
    assert (config.seed, config.max_steps, config.wandb.enabled) == (2, 1, False)
    assert rl("@", "b.toml", "@", "a.toml").seed == 1


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("arguments", [("--seed", "9", "@", "a.toml"), ("@", "a.toml", "--seed", "9")])
def test_the_command_line_wins_over_files_wherever_it_stands(arguments: tuple[str, ...]) -> None:
    assert rl(*arguments).seed == 9


@pytest.mark.usefixtures("files")
def test_a_switch_on_the_command_line_wins_over_the_file() -> None:
    assert not rl("@", "a.toml", "--no-wandb").wandb.enabled
    assert rl("@", "b.toml", "--wandb").wandb.enabled


@pytest.mark.usefixtures("files")
def test_a_file_is_loaded_into_a_section() -> None:
    config = rl("@", "a.toml", "--trainer", "@", "trainer.toml", "--seed", "3")
    assert (config.trainer.nproc, config.seed) == (5, 3)
    assert rl("--trainer", "@trainer.toml").trainer.nproc == 5


@pytest.mark.usefixtures("files")
def test_files_and_sections_keep_their_order() -> None:
    assert rl("--trainer", "@", "trainer.toml", "@", "a.toml").trainer.nproc == 1


def test_sections_of_sections_take_a_file_too() -> None:
    typed = split_arguments(["--trainer.wandb.log_extras", "@", "x.toml", "--seed", "1"], SECTIONS)
    assert typed.files == [("trainer.wandb.log-extras", Path("x.toml"))]
    assert typed.options == ["--seed", "1"]


def test_an_option_that_is_no_section_stays_an_option_before_a_file() -> None:
    typed = split_arguments(["--dry-run", "@", "x.toml"], SECTIONS)
    assert (typed.files, typed.options) == ([(None, Path("x.toml"))], ["--dry-run"])


# --- wrong requests ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--nproz", "3"), "--nproc"),
        (("--trainer.torchrun.max-restart", "3"), "--trainer.torchrun.max-restarts"),
        (("--wandb.projekt", "3"), "--wandb.project"),
        (("--no-trainer.wandb.log-extras.distribution",), "--no-trainer.wandb.log-extras.distributions"),
    ],
)
def test_an_unknown_option_names_the_nearest(arguments: tuple[str, ...], expected: str) -> None:
    text = refused(*arguments)
    assert arguments[0] in text
    assert expected in text.replace(arguments[0], "", 1)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--trainer.command", "a 'b"), "No closing quotation"),
        (("@",), "@ must be followed by a file, as in: @ configs/rl.toml"),
        (("--nproc",), "--nproc needs a value"),
        (("--wandb=yes",), "--wandb takes no value"),
        (("a.toml",), "unexpected argument: a.toml\n  did you mean @ a.toml? A file is given as @ FILE"),
        (("@", "missing.toml"), "missing.toml: there is no such file"),
    ],
)
def test_a_wrong_request_says_what_is_wrong(arguments: tuple[str, ...], expected: str) -> None:
    assert expected in refused(*arguments)


def test_what_follows_the_two_dashes_is_added_to_the_arguments_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('[trainer]\nscript = "train.py"\nargs = ["--epochs", "3"]\n')
    assert sft("@", str(file), "--", "--lr", "1e-4").trainer.args == ("--epochs", "3", "--lr", "1e-4")
