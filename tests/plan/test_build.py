"""(config, machine, run directory) -> Plan."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from launcher.config.rollout import OrchestratorConfig
from launcher.config.run import RLConfig, SFTConfig
from launcher.config.serving import InferenceConfig
from launcher.config.training import RLTrainerConfig, SFTTrainerConfig
from launcher.errors import UserError
from launcher.options.layer import Layer
from launcher.options.load import load
from launcher.plan.program import PythonCode, python_code
from launcher.plan.spec import Machine, Plan, Role
from tests.plans import component, machine, plan_of, rl, sft, train

ELSEWHERE = ("--no-inference", "--orchestrator.inference-url", "http://gpu7:8000/v1")
LOGS = Path("/runs/otter/logs/attempt_1")


def file(plan: Plan, name: str) -> dict[str, object]:
    return tomllib.loads(next(text for path, text in plan.files if path.name == name))


def handed(plan: Plan, name: str, model: type) -> object:
    return load(model, [Layer(file(plan, f"{name}.toml"))])


PROGRESS = ("--trainer.progress", r"step (?P<step>\d+) loss (?P<loss>[\d.]+)")


# --- what is started --------------------------------------------------------------------------------------------------


def test_rl_has_trainer_orchestrator_and_inference_and_follows_the_orchestrator() -> None:
    plan = plan_of(rl("--max-steps", "9"))
    assert [(spec.name, spec.role) for spec in plan.processes] == [
        ("trainer", Role.FINISHES),
        ("orchestrator", Role.FINISHES),
        ("inference", Role.SERVES),
    ]
    assert plan.followed.name == "orchestrator"
    assert (plan.progress.component, plan.progress.metric, plan.progress.max_steps) == (
        "orchestrator",
        "reward/mean",
        9,
    )


def test_sft_has_the_trainer_alone() -> None:
    plan = plan_of(sft("--max-steps", "7"))
    assert [spec.name for spec in plan.processes] == ["trainer"]
    assert plan.followed.name == "trainer"
    assert (plan.progress.metric, plan.progress.max_steps) == ("loss", 7)


def test_with_epochs_the_number_of_steps_is_not_known_before_the_data_are() -> None:
    assert plan_of(sft("--trainer.epochs", "3")).progress.max_steps is None


def test_steps_beside_epochs_are_said_to_be_unused_and_are_not_kept() -> None:
    plan = plan_of(sft("--trainer.epochs", "3", "--max-steps", "9"))
    assert "trainer.epochs decides how long the run is: max_steps 9 is not used" in plan.notes
    again = load(SFTConfig, [Layer(file(plan, "config.toml"))])
    assert again.trainer.epochs == 3
    assert not any("max_steps" in note for note in plan_of(again).notes)


def test_a_program_of_ones_own_has_no_steps_that_are_the_reference_workloads() -> None:
    assert plan_of(sft("--trainer.script", "train.py")).progress.max_steps is None
    assert (
        plan_of(sft("--trainer.script", "train.py", *PROGRESS, "--trainer.progress-total", "9")).progress.max_steps == 9
    )
    both = plan_of(rl("--trainer.script", "train.py", "--orchestrator.script", "ask.py")).progress
    assert (both.component, both.max_steps) == ("orchestrator", None)
    trainer = plan_of(rl("--orchestrator.script", "ask.py", "--max-steps", "9")).progress
    assert (trainer.component, trainer.metric, trainer.max_steps) == ("trainer", "loss", 9)


def test_steps_that_no_program_is_told_of_are_refused() -> None:
    for config in (
        lambda: sft("--trainer.script", "train.py", "--max-steps", "9"),
        lambda: rl("--trainer.module", "a", "--orchestrator.script", "ask.py", "--max-steps", "9"),
    ):
        with pytest.raises(
            UserError, match=r"max_steps is for the reference workload, your own program does not get it"
        ):
            config()


def test_steps_that_no_program_is_told_of_are_not_in_the_file_that_repeats_the_run() -> None:
    values = file(plan_of(sft("--trainer.script", "train.py")), "config.toml")
    assert "max_steps" not in values
    assert load(SFTConfig, [Layer(values)]).trainer.script == "train.py"


def test_a_server_elsewhere_is_not_started_and_its_url_reaches_the_orchestrator() -> None:
    plan = plan_of(rl(*ELSEWHERE))
    assert [spec.name for spec in plan.processes] == ["trainer", "orchestrator"]
    assert file(plan, "orchestrator.toml")["inference_url"] == "http://gpu7:8000/v1"


def test_services_come_last_and_serve() -> None:
    services = {"reward": {"command": ["python", "reward.py"], "args": ["--for", "{name}"]}}
    plan = plan_of(load(SFTConfig, [Layer({"services": services})]))
    reward = plan.processes[-1]
    assert (reward.name, reward.role) == ("reward", Role.SERVES)
    assert reward.argv == ("python", "reward.py", "--for", "otter")
    assert reward.log == LOGS / "reward.log"


def test_the_reference_workload_runs_with_its_own_configuration() -> None:
    plan = plan_of(rl("--nproc", "2"))
    trainer, orchestrator, inference = plan.processes
    assert trainer.argv[:4] == ("/venv/bin/python", "-m", "torch.distributed.run", "--nproc-per-node=2")
    assert trainer.argv[-4:] == ("-m", "launcher.workload.rl", "@", "/runs/otter/configs/trainer.toml")
    assert orchestrator.argv[1:] == (
        "-m",
        "launcher.workload.orchestrator",
        "@",
        "/runs/otter/configs/orchestrator.toml",
    )
    assert inference.argv[1:] == ("-m", "launcher.workload.inference", "@", "/runs/otter/configs/inference.toml")


@pytest.mark.parametrize(
    ("arguments", "end"),
    [
        (("--trainer.module", "my.train"), ("-m", "my.train")),
        (("--trainer.script", "a b.py"), ("a b.py",)),
        (("--trainer.module", "my.train", "--", "--lr", "1"), ("-m", "--", "my.train", "--lr", "1")),
        (("--trainer.script", "x.py", "--", "--nproc", "8"), ("--", "x.py", "--nproc", "8")),
        (("--", "--seed", "1"), ("@", "/runs/otter/configs/trainer.toml", "--seed", "1")),
    ],
)
def test_the_users_program_takes_the_place_of_the_reference_one(
    arguments: tuple[str, ...], end: tuple[str, ...]
) -> None:
    trainer = component(plan_of(sft(*arguments)), "trainer")
    assert trainer.argv[-len(end) :] == end
    assert trainer.argv[2] == "torch.distributed.run"


def test_arguments_of_later_attempts_are_for_every_component_of_the_users_and_have_placeholders() -> None:
    values = {
        "trainer": {"script": "train.py", "args": ["--lr", "1"], "resume_args": ["--from={output_dir}/{attempt}"]},
        "services": {"judge": {"command": ["judge"], "args": ["-v"], "resume_args": ["--again"]}},
    }
    config = load(SFTConfig, [Layer(values)])
    first, second = plan_of(config), plan_of(config, attempt=2)
    assert component(first, "trainer").argv[-3:] == ("train.py", "--lr", "1")
    assert component(second, "trainer").argv[-4:] == ("train.py", "--lr", "1", "--from=/runs/otter/2")
    assert [component(plan, "judge").argv for plan in (first, second)] == [("judge", "-v"), ("judge", "-v", "--again")]


def test_a_command_does_without_torchrun() -> None:
    trainer = component(plan_of(sft("--trainer.command", "accelerate", "--trainer.command", "launch")), "trainer")
    assert (trainer.argv, trainer.ranks, trainer.rank_logs) == (("accelerate", "launch"), None, ())


def other(name: str = "trainer", **facts: Any) -> Machine:
    paths = {"PATH": "/bin", "PYTHONPATH": "/mine"}
    pythons = {name: "/other/bin/python"}
    return machine(pythons=pythons, torchrun_logs=Path("/launch/logs"), search_paths=paths, **facts)


def test_a_component_runs_under_its_own_python_and_finds_its_programs_first() -> None:
    plan = plan_of(rl("--orchestrator.module", "m", "--orchestrator.python", "x"), other("orchestrator"))
    orchestrator = component(plan, "orchestrator")
    assert orchestrator.argv == ("/other/bin/python", "-m", "m")
    assert orchestrator.env["PATH"] == "/other/bin:/bin"
    assert component(plan, "inference").argv[0] == "/venv/bin/python"


def test_a_torchrun_of_another_python_is_shown_our_layout_and_its_ranks_get_their_own_path_back() -> None:
    arguments = ("--trainer.module", "m", "--trainer.python", "x")
    trainer = component(plan_of(sft(*arguments), other()), "trainer")
    assert trainer.argv[0] == "/other/bin/python"
    assert (trainer.env["PYTHONPATH"], trainer.env["LAUNCH_PYTHONPATH"]) == ("/launch/logs:/mine", "/mine")
    trainer = component(plan_of(sft(*arguments, "--trainer.env", "PYTHONPATH=/theirs"), other()), "trainer")
    assert (trainer.env["PYTHONPATH"], trainer.env["LAUNCH_PYTHONPATH"]) == ("/launch/logs:/theirs", "/theirs")


def test_a_command_can_name_its_python() -> None:
    plan = plan_of(sft("--trainer.command", "{python}", "--trainer.python", "x"), other())
    assert component(plan, "trainer").argv == ("/other/bin/python",)
    assert "LAUNCH_PYTHONPATH" not in component(plan, "trainer").env


def test_another_python_for_the_reference_workload_is_refused() -> None:
    with pytest.raises(UserError, match="python is for your own program"):
        sft("--trainer.python", "x")


def test_a_file_of_variables_is_below_those_that_were_typed() -> None:
    on = machine(env_files={"trainer": {"A": "file", "B": "file"}})
    env = component(plan_of(sft("--trainer.env", "A=typed"), on), "trainer").env
    assert (env["A"], env["B"]) == ("typed", "file")


def test_order_and_restarts_reach_the_plan() -> None:
    restart = ("--inference.restart", "on-failure", "--inference.restart-limit", "5")
    plan = plan_of(rl("--trainer.after", "inference", *restart))
    assert component(plan, "trainer").after == ("inference",)
    assert component(plan, "inference").restarts == 5
    assert component(plan_of(rl()), "inference").restarts == 0


# --- ranks and files --------------------------------------------------------------------------------------------------


def test_the_rendezvous_is_new_for_each_attempt_and_is_the_ranks_directory() -> None:
    first, second = (component(plan_of(sft(), attempt=attempt), "trainer") for attempt in (1, 2))
    assert first.ranks and second.ranks
    assert first.ranks.directory == Path("/runs/otter/logs/attempt_1/torchrun/otter-1")
    assert second.ranks.directory == Path("/runs/otter/logs/attempt_2/torchrun/otter-2")
    assert "--rdzv-id=otter-2" in second.argv


def test_a_log_directory_of_the_users_is_below_where_launch_was_typed() -> None:
    trainer = component(plan_of(sft("--log-dir", "my logs")), "trainer")
    assert "--log-dir=/here/my logs" in trainer.argv
    assert trainer.ranks and trainer.ranks.directory == Path("/here/my logs/otter-1")


@pytest.mark.parametrize(
    ("arguments", "files"),
    [
        ((), ("trainer/rank_0.log", "trainer/rank_1.log")),
        (
            ("--trainer.module", "m"),
            ("torchrun/otter-1/attempt_0/0/stdout.log", "torchrun/otter-1/attempt_0/1/stdout.log"),
        ),
        (("--trainer.module", "m", "--redirects", "0", "--tee", "0"), ("trainer.log", "trainer.log")),
        (
            ("--trainer.module", "m", "--redirects", "1:2", "--tee", "0"),
            ("trainer.log", "torchrun/otter-1/attempt_0/1/stderr.log"),
        ),
    ],
)
def test_every_rank_has_a_file_to_look_at(arguments: tuple[str, ...], files: tuple[str, ...]) -> None:
    trainer = component(plan_of(sft("--nproc", "2", *arguments)), "trainer")
    assert trainer.rank_logs == tuple(LOGS / name for name in files)


def test_an_empty_console_is_said_beforehand() -> None:
    notes = plan_of(sft("--tee", "0")).notes
    assert len(notes) == 1
    assert "with --tee 0 the console and trainer.log stay empty" in notes[0]
    assert plan_of(sft()).notes == ()


def test_a_rank_that_does_not_exist_is_refused_whatever_the_default_number_is() -> None:
    with pytest.raises(UserError, match="there are 3 ranks, 0 to 2"):
        plan_of(rl("--filter-rank", "3"), machine(gpus=4))


# --- what components are handed ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "models"),
    [
        (
            rl("--seed", "7"),
            {"trainer": RLTrainerConfig, "orchestrator": OrchestratorConfig, "inference": InferenceConfig},
        ),
        (sft("--seed", "7"), {"trainer": SFTTrainerConfig}),
    ],
)
def test_each_component_is_handed_what_the_run_shares(config: RLConfig | SFTConfig, models: dict[str, type]) -> None:
    plan = plan_of(config, attempt=2)
    for name, model in models.items():
        got = handed(plan, name, model)
        assert (got.run_name, got.output_dir, got.attempt, got.seed) == ("otter", Path("/runs/otter"), 2, 7)  # type: ignore[attr-defined]


def test_each_component_is_handed_its_own_settings_and_the_runs_steps() -> None:
    plan = plan_of(
        rl("--max-steps", "9", "--max-async", "3", "--trainer.optimizer.lr", "0.5", "--trainer.model.tiny.dim", "32")
    )
    trainer, orchestrator = file(plan, "trainer.toml"), file(plan, "orchestrator.toml")
    assert (trainer["max_steps"], orchestrator["max_steps"], orchestrator["max_async"]) == (9, 9, 3)
    assert trainer["optimizer"]["lr"] == 0.5  # type: ignore[index]
    assert file(plan, "inference.toml")["model"]["tiny"]["dim"] == 32  # type: ignore[index]


@pytest.mark.parametrize(("port", "expected"), [("0", 4321), ("8000", 8000)])
def test_a_port_of_0_is_the_free_one_that_was_probed_and_all_agree_on_it(port: str, expected: int) -> None:
    plan = plan_of(rl("--inference.port", port))
    assert file(plan, "inference.toml")["port"] == expected
    assert file(plan, "orchestrator.toml")["inference_url"] == f"http://127.0.0.1:{expected}"
    assert component(plan, "inference").ready == f"http://127.0.0.1:{expected}/health"


def test_a_server_on_all_addresses_is_reached_on_this_host() -> None:
    plan = plan_of(rl("--inference.host", "0.0.0.0"))
    assert component(plan, "inference").ready == "http://127.0.0.1:4321/health"


def test_the_reference_orchestrator_beside_a_server_that_cannot_take_its_weights_is_refused() -> None:
    serve = ("--inference.command", "vllm")
    with pytest.raises(UserError, match=r"sends new weights to the server.*takes_weights.*orchestrator\.script"):
        rl(*serve)
    assert rl(*serve, "--orchestrator.script", "ask.py").inference.command == ("vllm",)
    assert rl(*serve, "--inference.takes-weights").inference.takes_weights


def test_foreign_inference_is_ready_when_its_own_url_says_so_or_never_asked() -> None:
    command = ("--inference.command", "serve", "--inference.takes-weights")
    assert component(plan_of(rl(*command)), "inference").ready is None
    with_url = rl(*command, "--inference.ready", "http://h:{port}/up", "--inference.ready-timeout", "3s")
    inference = component(plan_of(with_url), "inference")
    assert (inference.ready, inference.ready_timeout) == ("http://h:4321/up", 3.0)


# --- config.toml ------------------------------------------------------------------------------------------------------


def test_the_resolved_request_repeats_the_run_without_its_name_directory_and_port() -> None:
    config = rl("--name", "otter", "--output-dir", "/runs/otter", "--seed", "5")
    values = file(plan_of(config), "config.toml")
    assert not {"name", "output_dir"} & set(values)
    again = load(RLConfig, [Layer(values)])
    assert again == config.model_copy(update={"name": None, "output_dir": None})
    assert again.inference.port == 0


def test_a_plan_depends_on_nothing_but_its_arguments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = plan_of(rl(), machine(gpus=2))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    assert plan_of(rl(), machine(gpus=2)) == before
    assert list(tmp_path.iterdir()) == []


ENVIRONMENT = ("--task", "verifiers:my-env")


def test_an_environment_needs_a_model_that_can_chat() -> None:
    plan_of(rl(*ENVIRONMENT))
    plan_of(rl(*ENVIRONMENT), machine(chat_template=None))
    with pytest.raises(UserError, match="tiny has no chat template"):
        plan_of(rl(*ENVIRONMENT), machine(chat_template=False))
    plan_of(rl("--task", "reverse"), machine(chat_template=False))
    config = rl(*ENVIRONMENT)
    task = config.task.model_copy(update={"args": {"renderer": {"name": "qwen3"}}})
    plan_of(config.model_copy(update={"task": task}), machine(chat_template=False))


def test_an_environment_has_no_answers_for_sft() -> None:
    with pytest.raises(UserError, match="no answers that could be learned"):
        sft(*ENVIRONMENT)
    plan_of(sft(*ENVIRONMENT, "--data", "pairs.jsonl"))


def test_a_trainer_or_an_orchestrator_of_the_users_may_have_its_own_idea_of_the_task() -> None:
    plan_of(sft(*ENVIRONMENT, "--trainer.script", "mine.py"))
    plan_of(rl(*ENVIRONMENT, "--orchestrator.script", "mine.py"), machine(chat_template=False))


# --- any program, and rl without an orchestrator ----------------------------------------------------------------------


def test_launch_train_starts_the_program_and_the_services_and_hands_nothing_over() -> None:
    plan = plan_of(train("--wandb", "train.py", "--lr", "1"))
    assert (plan.kind, [spec.name for spec in plan.processes]) == ("train", ["trainer"])
    assert plan.processes[0].argv[-3:] == ("train.py", "--lr", "1")
    assert [path.name for path, _ in plan.files] == ["config.toml"]
    assert plan.processes[0].env["WANDB_NAME"] == "otter"
    assert (plan.progress.component, plan.progress.max_steps) == ("trainer", None)


def test_launch_train_without_a_program_is_refused_and_has_no_configuration_to_hand_over() -> None:
    with pytest.raises(UserError, match="launch train has no program to start"):
        plan_of(train())
    with pytest.raises(UserError, match=r"\{config\} .* has no value in this run"):
        plan_of(train("--trainer.args", "{config}", "--trainer.script", "train.py"))


OWN_TRAINER = ("--no-orchestrator", "--trainer.script", "train.py", "--trainer.args", "{inference_url}")


def test_rl_without_an_orchestrator_is_a_trainer_and_its_server() -> None:
    plan = plan_of(rl(*OWN_TRAINER))
    assert {spec.name: spec.role for spec in plan.processes} == {"trainer": Role.FINISHES, "inference": Role.SERVES}
    assert plan.processes[0].argv[-1] == "http://127.0.0.1:4321"
    assert plan.progress.component == "trainer" and plan.followed.name == "trainer"
    own_server = rl(*OWN_TRAINER, "--inference.command", "serve")  # nobody of ours sends it weights
    assert component(plan_of(own_server), "inference").argv == ("serve",)


def test_the_reference_trainer_needs_an_orchestrator() -> None:
    with pytest.raises(UserError, match="learns from what the orchestrator samples"):
        rl("--no-orchestrator")


def test_the_orchestrator_asks_for_the_name_that_the_server_gives_its_model() -> None:
    plan = plan_of(rl())
    orchestrator, inference = (
        handed(plan, "orchestrator", OrchestratorConfig),
        handed(plan, "inference", InferenceConfig),
    )
    assert isinstance(orchestrator, OrchestratorConfig) and isinstance(inference, InferenceConfig)
    assert orchestrator.model_name == inference.model_name == "policy"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--trainer.module", "my.train", "--", "--lr", "1"), PythonCode(module="my.train")),
        (("--trainer.script", "x.py", "--", "--nproc", "8"), PythonCode(script="x.py")),
        (("--", "--seed", "1"), PythonCode(module="launcher.workload.sft")),
    ],
)
def test_the_code_of_ranks_is_known_behind_the_dashes(arguments: tuple[str, ...], code: PythonCode) -> None:
    assert python_code(component(plan_of(sft(*arguments)), "trainer")) == code


TWICE = (
    (("--services.b.port", "7000"), "--services.a.port and --services.b.port: both have port 7000"),
    (
        ("--inference.port", "6999", "--inference.replicas", "2"),
        "--inference.port and --services.a.port: both have port",
    ),
)


@pytest.mark.parametrize(("more", "message"), TWICE)
def test_a_port_that_two_servers_have_asked_for_is_refused(more: tuple[str, ...], message: str) -> None:
    words = ("--services.a.command", "true", "--services.b.command", "true", "--services.a.port", "7000")
    with pytest.raises(UserError, match=message):
        plan_of(rl(*words, *more))
    plan_of(rl(*words, "--services.b.port", "7001"))


def test_torchruns_variables_that_launch_does_not_take_are_named() -> None:
    here = machine(variables=frozenset({"PET_NNODES", "PET_NODE_RANK", "HOME"}))
    (note,) = plan_of(train("x.py"), here).notes
    assert note.startswith("torchrun would take PET_NNODES, PET_NODE_RANK from the environment; launch does not")
    assert plan_of(train("x.py")).notes == ()
