"""The recipes in configs/ run for real: with a tiny model of random weights, two ranks, and no hub."""

import importlib.util
import string
import tomllib
from pathlib import Path

import pytest

from tests.launching import Launched, Launcher

CONFIGS = Path(__file__).parent.parent.parent / "configs"
ON_CPU = ("--max_steps", "3", "--per_device_train_batch_size", "4", "--use_cpu", "True")  # the last one of two counts
OFFLINE = {"HF_HUB_OFFLINE": "1"}

pytestmark = pytest.mark.slow


def needs(*packages: str) -> pytest.MarkDecorator:
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    return pytest.mark.skipif(
        bool(missing), reason=f'{missing} missing: pip install -c constraints.txt -e ".[recipes]"'
    )


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of one layer over single characters, with its tokenizer."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    directory = tmp_path_factory.mktemp("models") / "tiny"
    vocabulary = {char: index for index, char in enumerate(["<pad>", "<s>", "</s>", "<unk>", *string.printable])}
    characters = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    characters.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=characters, **special)
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    tokenizer.save_pretrained(directory)
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(vocabulary), **small, **ids)).save_pretrained(directory)
    return directory


def start(launch: Launcher, kind: str, recipe: str, *options: str, more: tuple[str, ...] = ()) -> Launched:
    """The recipe, with its scripts found from elsewhere and with further arguments for its trainer."""
    config = CONFIGS / recipe
    trainer = tomllib.loads(config.read_text())["trainer"]
    script = f"--trainer.script={CONFIGS.parent / trainer['script']}"
    place = ("--output-dir", "run", "--no-tmux")
    return launch(kind, "@", str(config), script, *place, *options, "--", *more, **OFFLINE)


def steps(run: Launched, component: str) -> int:
    return len(run.run.metrics(component).read_text().splitlines())


@needs("trl", "transformers", "datasets")
@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param("trl_sft.toml", marks=pytest.mark.runs("TRL, SFT", "trl", "configs/trl_sft.toml")),
        pytest.param("trl_grpo.toml", marks=pytest.mark.runs("TRL, GRPO", "trl", "configs/trl_grpo.toml")),
    ],
)
def test_trl_trains_and_its_progress_is_read(launch: Launcher, tiny_model: Path, recipe: str) -> None:
    model = f"--model={tiny_model}"
    run = start(launch, "sft", recipe, model, more=(*ON_CPU, "--bf16", "False"))
    assert run.exit_code() == 0, run.output[-3000:]
    assert steps(run, "trainer") >= 3


@pytest.mark.runs("transformers, Trainer", "transformers", "configs/hf_trainer.toml")
@needs("transformers", "accelerate")
def test_the_trainer_of_transformers_trains_and_its_progress_is_read(launch: Launcher, tiny_model: Path) -> None:
    run = start(launch, "sft", "hf_trainer.toml", f"--model={tiny_model}", more=ON_CPU)
    assert run.exit_code() == 0, run.output[-3000:]
    assert steps(run, "trainer") >= 3


@pytest.mark.runs("Lightning, DDP", "lightning", "configs/lightning_ddp.toml")
@needs("lightning")
def test_lightning_trains_on_two_ranks_and_its_progress_is_read(launch: Launcher) -> None:
    run = start(launch, "sft", "lightning_ddp.toml")
    assert run.exit_code() == 0, run.output[-3000:]
    assert steps(run, "trainer") == 20


@pytest.mark.runs("transformers serve", "transformers", "configs/transformers_serve.toml")
@needs("transformers", "fastapi", "openai")
def test_transformers_serve_answers_once_it_is_ready(launch: Launcher, tiny_model: Path) -> None:
    asking = f"--orchestrator.script={CONFIGS / 'ask_server.py'}"
    run = start(launch, "rl", "transformers_serve.toml", f"--model={tiny_model}", asking)
    assert run.exit_code() == 0, run.output[-3000:]
    assert "inference: ready after" in run.output
    assert steps(run, "orchestrator") == 5
