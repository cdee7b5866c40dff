"""The plan as text: each line starts in a POSIX shell what the supervisor would have started."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from launcher.borders.masking import MASK
from launcher.plan.render import _parts, render, shell_line
from launcher.plan.rendezvous import node_count
from launcher.plan.spec import Plan
from tests.goldens import RUNS, check_golden, run_of
from tests.plans import component, machine, plan_of, plan_on_node, rl, sft, shower, shown

GOLDEN = Path(__file__).parent / "dry_run"
NASTY = [
    "",
    "plain",
    "a b",
    "it's",
    'say "hi"',
    "two\nlines",
    "$(touch pwned)",
    "`touch pwned`",
    "; touch pwned #",
    "$HOME ~ * ? [a] {a,b} !x",
    "back\\slash\\",
    "ünïcödé 漢字 🦦",
    "-n",
    "\t|&<>",
]
nasty = pytest.mark.parametrize("text", NASTY)


def nasty_plan(text: str, root: Path, **facts: object) -> Plan:
    env = f"--trainer.env=SHOWN={text}"
    return plan_of(sft(*shower(text), env), machine(cwd=root, **facts), root / f"run {text}")


def in_shell(line: str, directory: Path) -> tuple[list[str], dict[str, str], str]:
    done = subprocess.run(["sh"], input=line, cwd=directory, capture_output=True, text=True, timeout=240, check=True)
    return shown(done.stdout)


@nasty
def test_a_line_parses_back_to_the_programs_arguments_and_variables(text: str, tmp_path: Path) -> None:
    trainer = component(nasty_plan(text, tmp_path), "trainer")
    words = shlex.split(shell_line(trainer, tmp_path).replace(" \\\n    ", " "))  # shlex knows no continued lines
    variables = [f"{name}={value}" for name, value in trainer.env.items()]
    assert words == ["env", *variables, *trainer.argv]


@nasty
def test_the_rendered_plan_runs_in_a_shell_as_it_would_under_the_supervisor(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "7")
    plan = nasty_plan(text, tmp_path, variables=frozenset(os.environ))
    arguments, environment, directory = in_shell(render(plan, tmp_path, files_are_written=True), tmp_path)
    assert arguments == [text]
    assert environment["SHOWN"] == text
    assert environment["LAUNCH_RUN_DIR"] == str(plan.run.root)
    assert "RANK" not in environment
    assert directory == str(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [text for text in NASTY if text])
def test_a_component_starts_in_its_own_directory(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    plan = plan_of(sft(*shower(), f"--trainer.cwd={tmp_path / name}"), machine(cwd=tmp_path))
    _, _, directory = in_shell(render(plan, tmp_path, files_are_written=True), tmp_path)
    assert directory == str(tmp_path / name)
    assert list(tmp_path.iterdir()) == [tmp_path / name]


def test_a_long_command_is_broken_between_words_and_an_option_keeps_its_value() -> None:
    plan = plan_of(rl("--nproc", "2"), machine(cwd=Path("/here")))
    for spec in plan.processes:
        first, *rest = shell_line(spec, Path("/here")).splitlines()
        assert rest
        assert all(line.endswith(" \\") for line in [first, *rest[:-1]])
        assert all(line.startswith("    ") for line in rest)
        assert max(map(len, [first, *rest])) <= 100 + len("     \\")
        assert not any(line.endswith((" -m \\", " -u \\", " @ \\")) for line in [first, *rest])


def test_a_file_and_its_at_sign_are_one_part_whatever_precedes_them() -> None:
    words = ["torchrun", "--no-python", "-m", "mod", "@", "a.toml", "@", "b.toml", "--trainer", "@", "c.toml", "-x"]
    parts = ["torchrun", "--no-python", "-m mod", "@ a.toml", "@ b.toml", "--trainer", "@ c.toml", "-x"]
    assert list(_parts(words)) == parts


def test_secrets_are_masked() -> None:
    plan = plan_of(sft("--trainer.env", "HF_TOKEN=abc123"))
    text = render(plan, Path("/here"), files_are_written=True)
    assert "abc123" not in text
    assert f"HF_TOKEN={MASK}" in text


def test_values_from_a_file_passwords_in_urls_and_options_with_secrets_are_masked() -> None:
    config = sft("--trainer.env", "DB=x://u:hunter2@h", *shower("--api-key", "hunter2"))
    text = render(plan_of(config, machine(env_files={"trainer": {"MODE": "hunter2"}})), Path("/"), True)
    assert "hunter2" not in text
    assert f"MODE='{MASK}'" in text or f"'MODE={MASK}'" in text


def test_everything_but_the_commands_is_a_comment() -> None:
    plan = plan_of(rl("--tee", "0"), machine(gpus=1))
    text = render(plan, Path("/here"), files_are_written=False).replace(" \\\n", "")
    assert [line[:4] for line in text.splitlines() if line and not line.startswith("#")] == ["env "] * 3


def test_each_component_is_shown_with_its_gpus_log_and_readiness() -> None:
    text = render(plan_of(rl("--nproc", "2"), machine(gpus=3)), Path("/here"), files_are_written=True)
    assert "# trainer: GPU 0,1, 2 ranks under torchrun\n#   log /runs/otter/logs/attempt_1/trainer.log\n" in text
    assert "#   ranks /runs/otter/logs/attempt_1/torchrun/otter-1/attempt_0/RANK/{stdout,stderr}.log\n" in text
    assert "# orchestrator: no GPU\n" in text
    assert "# inference: GPU 2\n" in text
    assert "#   ready when http://127.0.0.1:4321/health answers, within 600s\n" in text


@pytest.mark.parametrize("written", [True, False])
def test_it_is_said_when_no_files_are_written(written: bool) -> None:
    text = render(plan_of(sft()), Path("/here"), files_are_written=written)
    assert ("nothing is written" in text) is not written


def dry_run(name: str, node: int | None) -> str:
    typed = () if node is None else ("--rdzv-endpoint", "gpu0:29500", "--node-rank", str(node))
    hosts = () if node is None else tuple(f"gpu{rank}" for rank in range(node_count(run_of(name))))
    return render(plan_on_node(run_of(name, *typed), hosts, gpus=8), Path("/here"), files_are_written=False)


@pytest.mark.parametrize("name", RUNS)
def test_what_dry_run_prints_of_all_nodes_is_the_golden_text(name: str) -> None:
    count = node_count(run_of(name))
    texts = [dry_run(name, node) for node in (range(count) if count > 1 else (None,))]
    check_golden(GOLDEN / f"{name}.sh", "\n\n".join(texts))


def test_notes_are_shown() -> None:
    text = render(plan_of(rl(), machine(gpus=1)), Path("/here"), files_are_written=True)
    assert "# note: inference shares GPU 0 with the trainer: there is 1 GPU\n" in text
