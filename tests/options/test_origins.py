"""Where each value was set: what `launch config` shows, and config.toml keeps."""

import tomllib
from pathlib import Path

import pytest

from launcher.config.run import RLConfig, SFTConfig
from launcher.options.command import RunRequest, config_command
from launcher.options.comments import Asked
from launcher.options.layer import Layer
from launcher.options.load import load, read_config_of_run, read_file
from launcher.options.origins import Origins, asked
from launcher.plan.build import run_toml
from launcher.rundir import RunDir
from tests.plans import machine, plan_of


def asked_for(*words: str, model: type[RLConfig] | type[SFTConfig] = RLConfig) -> Asked:
    found: list[Asked] = []

    def keep(request: RunRequest[RLConfig]) -> int:
        found.append(asked(request.load(), request.all_layers(), ["/bin/launch", "rl", *words]))
        return 0

    config_command(model, keep, "").main(list(words), prog_name="test", standalone_mode=False)  # type: ignore[arg-type]
    return found[0]


@pytest.mark.parametrize(
    ("words", "path", "origin"),
    [
        (["--nproc-per-node", "2"], "trainer.nproc", "--nproc"),
        (["--grace", "10m"], "grace", "--grace"),
        (["--wandb.project", "x"], "wandb.enabled", "--wandb"),
        (["--no-tmux"], "tmux", "--no-tmux"),
        (["--trainer.env", "A=b=c"], "trainer.env.A", "--trainer.env"),
        (["--slurm.nodes", "3"], "trainer.torchrun.nnodes", "--slurm.nodes"),
        (["--", "--lr", "1"], "trainer.args", "--trainer.args"),
    ],
    ids=lambda part: part if isinstance(part, str) else " ".join(part),
)
def test_an_option_is_the_origin_of_its_value(words: list[str], path: str, origin: str) -> None:
    assert asked_for(*words).origins[tuple(path.split("."))] == origin


def test_the_last_layer_is_the_origin(tmp_path: Path) -> None:
    first, last, part = (tmp_path / name for name in ("a.toml", "b.toml", "part.toml"))
    first.write_text("max_steps = 5\n\n[trainer]\nbatch_size = 7\nvalidation-interval = 3\n")
    last.write_text('# x\nmax_steps = 6\ngrace = "3s"\n[services.judge]\ncommand = ["a"]\n')
    part.write_text("lr = 0.5\n")
    words = ["@", str(first), f"@{last}", "--trainer.optimizer", "@", str(part), "--grace", "4s"]
    origins = {".".join(path): origin for path, origin in asked_for(*words, model=SFTConfig).origins.items()}
    assert origins == {
        "max_steps": f"{last}:2",
        "grace": "--grace",
        "services.judge.command": f"{last}:5",
        "trainer.batch_size": f"{first}:4",
        "trainer.validation_interval": f"{first}:5",
        "trainer.optimizer.lr": f"{part}:1",
    }


def test_defaults_have_no_origin() -> None:
    assert asked_for().origins == {} and asked_for("--seed", "0").origins == {}
    assert Origins(RLConfig, []).of(("seed",), 0) is None


def test_config_toml_has_the_command_that_was_typed_and_the_origins_and_a_resume_keeps_them(tmp_path: Path) -> None:
    typed = asked_for("--nproc", "2", "--watchdog", "90m", "--trainer.env", "API_KEY=geheim", "--name", "a")
    run = RunDir(tmp_path)
    first = load(RLConfig, [Layer({"trainer": {"nproc": 2}, "watchdog": "90m"})])
    run.config.write_text(run_toml(first, typed))
    text = run.config.read_text()
    assert text.startswith("# launch rl --nproc 2 --watchdog 90m --trainer.env 'API_KEY=***' --name a\n")
    assert 'watchdog = "90m"  # from --watchdog' in text and "geheim" not in text

    layers = [read_config_of_run(run.config), Layer({"max_steps": "300"})]
    again = asked(load(RLConfig, layers), layers, ["launch", "resume", "otter", "--max-steps", "300"])
    assert again.commands == (*typed.commands, "launch resume otter --max-steps 300")
    assert {".".join(path): origin for path, origin in again.origins.items()} == {
        "trainer.nproc": "--nproc",
        "watchdog": "--watchdog",
        "max_steps": "--max-steps",
    }


def test_a_change_by_hand_in_config_toml_has_its_line(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.config.write_text("seed = 0\nmax_steps = 7\n")
    layers = [read_config_of_run(run.config)]
    assert asked(load(SFTConfig, layers), layers, ["launch"]).origins == {("max_steps",): f"{run.config}:2"}


def test_the_plan_writes_what_was_asked() -> None:
    config = load(RLConfig, [Layer({"max_steps": "3"})])
    text = dict(plan_of(config, machine(asked=Asked(("launch rl",), {("max_steps",): "--max-steps"}))).files)[
        Path("/runs/otter/config.toml")
    ]
    assert text.startswith("# launch rl\n\n") and "max_steps = 3  # from --max-steps\n" in text
    assert tomllib.loads(text)["max_steps"] == 3


def test_a_file_that_is_read_by_name_has_no_origins_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("max_steps = 7  # from --max-steps\n")
    layers = [read_file(tmp_path / "config.toml")]
    assert asked(load(SFTConfig, layers), layers, ["launch"]).origins == {("max_steps",): f"{tmp_path}/config.toml:1"}
