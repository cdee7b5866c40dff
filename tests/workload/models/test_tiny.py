from pathlib import Path

import pytest
import torch

from launcher.errors import UserError
from launcher.workload.models.load import context_of, end_tokens, load_model
from launcher.workload.models.tiny import END, END_TOKEN, make_tiny
from launcher.workload.models.tokenizer import load_tokenizer
from tests.children import run_python
from tests.workload.running import SHAPE, tiny


def test_the_first_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(99)
    one, same, other = (tiny(seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_it_has_the_shape_that_was_asked_for(tmp_path: Path) -> None:
    make_tiny(tmp_path / "model", SHAPE, 0)
    model = load_model(str(tmp_path / "model"))
    assert context_of(model) == SHAPE.context
    assert model.config.hidden_size == SHAPE.dim and model.config.num_hidden_layers == SHAPE.layers


@pytest.mark.parametrize("text", ["", "ab>", "ä\n\0€\U0001f600", END])
def test_a_token_is_a_byte_and_the_end_begins_every_text(tmp_path: Path, text: str) -> None:
    make_tiny(tmp_path / "model", SHAPE, 0)
    tokenizer = load_tokenizer(str(tmp_path / "model"))
    tokens = tokenizer(text).input_ids
    assert tokens == [END_TOKEN, *([END_TOKEN] if text == END else text.encode())]
    assert tokenizer.decode(tokens, skip_special_tokens=True) == ("" if text == END else text)
    assert end_tokens(str(tmp_path / "model"), tokenizer) == {END_TOKEN}


def test_a_width_that_heads_cannot_share_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"not a multiple of model\.tiny\.heads"):
        make_tiny(tmp_path / "model", SHAPE.model_copy(update={"heads": 3}), 0)


def test_a_model_of_another_shape_is_not_taken_for_the_one_that_was_asked_for(tmp_path: Path) -> None:
    make_tiny(tmp_path / "model", SHAPE, 0)
    make_tiny(tmp_path / "model", SHAPE, 0)
    wider = SHAPE.model_copy(update={"dim": 2 * SHAPE.dim})
    with pytest.raises(UserError, match=f"of another shape: dim {SHAPE.dim}, not {wider.dim}"):
        make_tiny(tmp_path / "model", wider, 0)


def test_it_is_made_without_torch(tmp_path: Path) -> None:
    done = run_python(
        "import sys; from pathlib import Path; from launcher.config.workload import TinyConfig\n"
        "from launcher.workload.models.tiny import make_tiny; make_tiny(Path('model'), TinyConfig(), 0)\n"
        "assert not {'torch', 'transformers'} & sys.modules.keys()",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "model" / "model.safetensors").is_file()
