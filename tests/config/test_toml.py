"""A configuration as TOML loads again to the same configuration."""

import random
import tomllib

import pytest

from launcher.borders.masking import MASK
from launcher.config.base import Section, set_fields
from launcher.config.rollout import OrchestratorConfig
from launcher.config.run import RLConfig, RunConfig, SFTConfig, TrainConfig
from launcher.config.serving import InferenceConfig
from launcher.config.toml import to_toml
from launcher.config.training import RLTrainerConfig
from launcher.options.fields import ConfigField, Form, config_fields
from launcher.options.flags import option_names
from launcher.options.layer import Layer
from launcher.options.load import load
from tests.plans import component, machine, plan_of, plan_on_node, rl, sft, typed

ELSEWHERE = ("--no-inference", "--orchestrator.inference-url", "http://gpu7:8000")


def loaded_again(config: Section) -> Section:
    return load(type(config), [Layer(tomllib.loads(to_toml(config)))])


def assert_survives(config: RunConfig) -> None:
    """The same values, and the same in what components inherit: that depends on what was set."""
    again = loaded_again(config)
    assert again == config
    for name in ("trainer", "orchestrator"):
        own, own_again = (getattr(getattr(c, name, None), "wandb", None) for c in (config, again))
        if own is not None:
            assert set_fields(own_again) == set_fields(own)
            assert own_again.over(again.wandb) == own.over(config.wandb)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--wandb",),
        ("--no-wandb", "--wandb.project", "x"),
        ("--wandb", "--no-trainer.wandb"),
        ("--wandb", "--no-trainer.wandb.log-extras.distributions", "--orchestrator.wandb.log-extras.interval", "50"),
        ("--wandb", "--no-orchestrator.wandb.log-extras"),
        ("--orchestrator.wandb",),
        ("--trainer.wandb.dir", "/a b/ü", "--trainer.wandb.tags", "x", "--trainer.wandb.finish-timeout", "2m"),
        ELSEWHERE,
        (*ELSEWHERE, "--inference.port", "8000"),
        ("--no-tmux",),
        ("--no-tmux", "--tmux.socket-name", "x"),
        ("--filter-rank", ""),
        ("--nproc", "cpu", "--master-addr", "fd00::1", "--master-port", "4000"),
        ("--trainer.script", "./run.sh", "--no-python", "--standalone"),
        ("--filter-rank", "0,2", "--nproc", "3"),
        ("--trainer.module", "my.train", "--", "--config", "{config}", "", 'a "b"\n\t\\ü\x01'),
        ("--trainer.env", "A=", "--trainer.env", "B= x=y\n", "--trainer.cwd", "a b"),
        ("--grace", "1h30m", "--trainer.optimizer.lr", "1e-5"),
        ("--log.json", "--name", "x.y-z_1", "--output-dir", "a 'b'/c"),
    ],
    ids=" ".join,
)
def test_a_request_survives(arguments: tuple[str, ...]) -> None:
    assert_survives(rl(*arguments))


def test_services_survive() -> None:
    values = {
        "services": {"reward-model": {"command": ["a", "b c"], "env": {"X": "1"}, "gpus": 2, "ready": "http://x"}}
    }
    assert_survives(load(SFTConfig, [Layer(values)]))


# --- generated requests -----------------------------------------------------------------------------------------------

SPECIAL = {
    "name": "calm-otter",
    "task.name": "sums.jsonl",
    "orchestrator.evaluation.sets": "more=sums.jsonl",
    "task.reward": "my.module:reward",
    "trainer.torchrun.rdzv-id": "id.7",
    "trainer.torchrun.rdzv-conf": "timeout=7,a=b",
    "trainer.torchrun.redirects": "0:3,1:2",
    "trainer.torchrun.tee": "1",
    **{f"slurm.{name}": "word-7" for name in ("partition", "account", "qos", "constraint")},
    "slurm.nodes": "1",
    "inference.nodes": "0",
    "trainer.torchrun.nnodes": "1",
    "slurm.time": "2-12:30",
    "slurm.signal-lead": "90s",
    "slurm.gpus-per-node": "h100:8",
    "slurm.extra": "--mem=64G",
    **{f"k8s.{name}": "name-7" for name in ("image", "namespace", "queue", "secrets", "pull-secrets")},
    **{f"k8s.{name}": "64Gi" for name in ("cpu", "memory", "shared-memory")},
    "k8s.gpu-resource": "nvidia.com/gpu",
    "k8s.service-account": "name-7",
    "k8s.volumes": "data=claim:/data",
    "k8s.node-selector": "a/b=c",
    "k8s.tolerations": "a/b=c:NoSchedule",
    "k8s.user": "1000:100",
    "notify.on": "first-step",
    "orchestrator.sampling.max-tokens": "8",  # leaves room for a prompt
    **{f"notify.{name}": MASK for name in ("webhook", "apprise")},  # any other value is a secret, and is masked
}
BY_NAME = {"id": "a1b2", "base-url": "https://wandb.example"}
PROGRESS = ("progress", "progress-metric")
BY_METAVAR = {
    "INTEGER": "64",
    "NUMBER": "0.25",
    "PATH": "a b/ü 'q'",
    "TEXT": 'é "quoted" \\ \n $(touch x)',
    "DURATION": "1h30m",
    "RANK[,RANK]": "0,3",
    "KEY=VALUE": "NAME=a=b c",
}


def words(field: ConfigField, chance: random.Random) -> list[str]:
    """The field's option with some value, as it could be typed."""
    name = chance.choice(option_names(field))
    if field.shape is Form.FLAG:
        return [f"--{chance.choice(['', 'no-'])}{name}"]
    choices = field.metavar.split("|") if "|" in field.metavar else [BY_METAVAR.get(field.metavar, "")]
    last = field.option.rpartition(".")[2]
    value = SPECIAL.get(field.option) or BY_NAME.get(last) or chance.choice(choices)
    times = chance.choice([1, 2]) if field.shape is Form.MANY else 1
    return [f"--{name}={value}"] * times


def request(model: type[RunConfig], seed: int) -> list[str]:
    """A random request without contradictions: programs, and where inference runs, are left to the tests above."""
    chance = random.Random(seed)
    excluded = (
        "module",
        "script",
        "command",
        "python",
        "after",
        "progress",
        "progress-metric",
        "inference-url",
        "inference",
        "no-python",
        "run-path",
        "standalone",
        "master-addr",
        "master-port",
        "orchestrator",
        "epochs",  # with it max_steps is not used, and is not written
        "dataset",  # in place of a path
    )
    fields = [field for field in config_fields(model) if field.option.rpartition(".")[2] not in excluded]
    chosen = chance.sample(fields, chance.choice([1, 3, 10, 40]))
    schedulers = [field.path[0] for field in chosen if field.path[0] in ("slurm", "k8s")]
    chosen = [field for field in chosen if field.path[0] not in schedulers[1:] or field.path[0] == schedulers[0]]
    more = ["--k8s.image=name-7"] if schedulers[:1] == ["k8s"] else []
    chosen = [field for field in chosen if not more or field.option not in ("spare-nodes", "min-nodes")]
    return [word for field in chosen for word in words(field, chance)] + more


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("model", [RLConfig, SFTConfig, TrainConfig])
def test_any_request_survives(model: type[RunConfig], seed: int) -> None:
    assert_survives(typed(model, *request(model, seed)))


HANDED: list[type[Section]] = [RLConfig, RLTrainerConfig, OrchestratorConfig, InferenceConfig]


def test_the_plan_of_the_dumped_request_is_the_same() -> None:
    config = rl("--wandb", "--no-trainer.wandb.log-extras.distributions", "--nproc", "2", "--seed", "4")
    again = loaded_again(config)
    assert isinstance(again, RLConfig)
    assert plan_of(again).processes == plan_of(config).processes
    for model, (_, text), (_, text_again) in zip(HANDED, plan_of(config).files, plan_of(again).files, strict=True):
        first, second = (load(model, [Layer(tomllib.loads(written))]) for written in (text, text_again))
        assert first == second


def test_what_the_plan_decides_is_decided_anew_for_a_repeated_request() -> None:
    vllm = rl("--model", "Qwen/Qwen3-0.6B", "--inference.engine", "vllm", "--inference.tensor-parallel", "2")
    on_node_1 = rl("--inference.nodes", "1", "--node-rank", "1", "--rdzv-endpoint", "head:29500")
    for asked in (vllm, on_node_1):
        again, facts = loaded_again(asked), {"gpus": 4, "vllm": "/venv/bin/vllm", "model_path": "Qwen/Qwen3-0.6B"}
        assert isinstance(again, RLConfig)
        assert plan_on_node(again, **facts).processes == plan_on_node(asked, **facts).processes
        written = [dict(plan_on_node(one, **facts).files) for one in (again, asked)]
        assert [
            path for path in written[0] if path.name == "inference.toml" and written[0][path] != written[1][path]
        ] == []


# --- what is written --------------------------------------------------------------------------------------------------


def test_values_of_secrets_are_masked_and_nothing_else() -> None:
    config = sft("--trainer.env", "WANDB_API_KEY=abc123", "--trainer.env", "MODE=plain")
    text = to_toml(config)
    assert "abc123" not in text
    again = loaded_again(config)
    assert isinstance(again, SFTConfig)
    assert again.trainer.env == {"WANDB_API_KEY": MASK, "MODE": "plain"}


def test_no_secret_stands_in_any_file_of_the_plan() -> None:
    plan = plan_of(rl("--trainer.env", "HF_TOKEN=abc123", "--orchestrator.env", "MY_PASSWORD=abc123"), machine())
    assert [path for path, text in plan.files if "abc123" in text] == []
    assert component(plan, "trainer").env["HF_TOKEN"] == "abc123"


def test_a_section_that_is_off_is_written_as_false() -> None:
    values = tomllib.loads(to_toml(rl(*ELSEWHERE)))
    assert (values["wandb"], values["inference"]) == (False, False)


def test_what_a_component_inherits_is_not_written_into_its_section() -> None:
    values = tomllib.loads(to_toml(rl("--wandb.project", "x", "--no-trainer.wandb.log-extras.samples")))
    assert values["trainer"]["wandb"] == {"log_extras": {"samples": False}}
    assert "wandb" not in values["orchestrator"]


def test_fields_can_be_left_out() -> None:
    assert "name" not in tomllib.loads(to_toml(rl("--name", "x"), leave_out=frozenset({"name"})))
