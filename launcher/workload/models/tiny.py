"""The model that runs start from by default: small, of random weights, in the layout that Hugging Face's models have.

A transformer of GPT-2's shape and a tokenizer whose tokens are the 256 bytes and one more, END, which begins every text
and ends every completion. Written without torch, so that a model of a few numbers is there in a moment.

    python -m launcher.workload.models.tiny @ inference.toml    # before vLLM starts, which cannot make it
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from launcher.config.workload import TinyConfig
from launcher.errors import UserError
from launcher.workload.files import appearing

END, END_TOKEN = "<|end|>", 256
VOCABULARY = 257
SHAPE = {"n_layer": "layers", "n_embd": "dim", "n_head": "heads", "n_positions": "context"}
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] }}{{ eos_token }}{% endgeneration %}"
    "{% else %}{{ message['content'] }}{% endif %}{% endfor %}"
)


def make_tiny(directory: Path, shape: TinyConfig, seed: int) -> None:
    """Write the model, unless it is there; its weights depend on shape and seed alone.

    So every process of a run may make it, on any node. Raises UserError when the shape is impossible, or when the model
    that is there has another one.
    """
    if shape.dim % shape.heads:
        raise UserError(f"model.tiny.dim {shape.dim} is not a multiple of model.tiny.heads {shape.heads}")
    if directory.is_dir():
        _check_shape(directory, shape)
        return
    with appearing(directory) as draft:
        draft.mkdir()
        (draft / "config.json").write_text(json.dumps(_config(shape), indent=2) + "\n")
        _write_tokenizer(draft, shape)
        save_file(dict(_weights(shape, seed)), draft / "model.safetensors", {"format": "pt"})


def _check_shape(directory: Path, shape: TinyConfig) -> None:
    try:
        there = json.loads((directory / "config.json").read_text())
    except (OSError, ValueError):
        return  # whoever loads it says what is wrong
    wanted = _config(shape)
    other = {key: there.get(key) for key in SHAPE if there.get(key) != wanted[key]}
    if other:
        asked = ", ".join(f"{SHAPE[key]} {has}, not {wanted[key]}" for key, has in other.items())
        hint = "replace the run with --clean, or name another directory with --output-dir"
        raise UserError(f"{directory} holds a tiny model of another shape: {asked}", hint)


def _config(shape: TinyConfig) -> dict[str, object]:
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": VOCABULARY,
        "n_positions": shape.context,
        "n_embd": shape.dim,
        "n_layer": shape.layers,
        "n_head": shape.heads,
        "activation_function": "gelu_pytorch_tanh",  # GPT-2's own by another name, in one operation
        "bos_token_id": END_TOKEN,
        "eos_token_id": END_TOKEN,
        "pad_token_id": END_TOKEN,
        "attn_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
        "tie_word_embeddings": False,
        "dtype": "float32",
    }


def _weights(shape: TinyConfig, seed: int) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Linear layers of standard deviation 1 / sqrt(inputs), embeddings of 0.1, by the names of `GPT2LMHeadModel`."""
    draw, dim = np.random.default_rng(seed), shape.dim

    def normal(rows: int, columns: int, deviation: float) -> NDArray[np.float32]:
        return draw.standard_normal((rows, columns), np.float32) * np.float32(deviation)

    def linear(name: str, inputs: int, outputs: int) -> Iterator[tuple[str, NDArray[np.float32]]]:
        yield f"{name}.weight", normal(inputs, outputs, inputs**-0.5)
        yield f"{name}.bias", np.zeros(outputs, np.float32)

    def norm(name: str) -> Iterator[tuple[str, NDArray[np.float32]]]:
        yield f"{name}.weight", np.ones(dim, np.float32)
        yield f"{name}.bias", np.zeros(dim, np.float32)

    yield "transformer.wte.weight", normal(VOCABULARY, dim, 0.1)
    yield "transformer.wpe.weight", normal(shape.context, dim, 0.1)
    for layer in range(shape.layers):
        block = f"transformer.h.{layer}"
        yield from norm(f"{block}.ln_1")
        yield from linear(f"{block}.attn.c_attn", dim, 3 * dim)
        yield from linear(f"{block}.attn.c_proj", dim, dim)
        yield from norm(f"{block}.ln_2")
        yield from linear(f"{block}.mlp.c_fc", dim, 4 * dim)
        yield from linear(f"{block}.mlp.c_proj", 4 * dim, dim)
    yield from norm("transformer.ln_f")
    yield "lm_head.weight", normal(VOCABULARY, dim, dim**-0.5)


def _write_tokenizer(directory: Path, shape: TinyConfig) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    tokenizer = Tokenizer(models.BPE({letter: byte for byte, letter in enumerate(_letters())}, []))
    tokenizer.add_special_tokens([AddedToken(END, special=True, normalized=False)])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{END} $A", pair=f"{END} $A $B", special_tokens=[(END, END_TOKEN)]
    )
    tokenizer.save(str(directory / "tokenizer.json"))
    about = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END,
        "eos_token": END,
        "pad_token": END,
        "model_max_length": shape.context,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(about, indent=2) + "\n")


def _letters() -> list[str]:
    """How byte-level tokenizers spell each byte: itself where it can be printed, else a letter from 256 on."""
    printed = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = iter(range(256, 512))
    return [chr(byte) if byte in printed else chr(next(others)) for byte in range(256)]


def main() -> None:
    from launcher.config.serving import InferenceConfig
    from launcher.options.entry import load_component
    from launcher.rundir import RunDir

    config = load_component(InferenceConfig, sys.argv[1:])
    try:
        make_tiny(RunDir(config.output_dir, config.attempt, config.node).model, config.model.tiny, config.seed)
    except UserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
