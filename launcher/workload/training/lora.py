"""Low-rank adapters (LoRA: Hu et al., 2021) by `peft`, in every linear layer but the head and the experts.

The model's own weights are frozen, so gradients and AdamW's moments are those of the adapters alone. Whoever gets the
weights, a server or a checkpoint, gets them merged: W + alpha / rank B A.
"""

import warnings

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from launcher.config.training import LoraConfig
from launcher.errors import UserError

ADAPTER = "default"


def add_adapters(model: PreTrainedModel, config: LoraConfig) -> None:
    """Put adapters in place; B is zero, so that nothing changes yet. Raises UserError without `peft`."""
    try:
        from peft import LoraConfig as Wanted
        from peft import inject_adapter_in_model
    except ImportError as error:
        raise UserError("lora.rank needs the package peft", "pip install 'launch-rl[lora]'") from error
    holder = nn.ModuleList([model])  # of a model that peft knows, it would adapt the weights of all experts together
    wanted = Wanted(
        r=config.rank, lora_alpha=config.alpha or 2 * config.rank, target_modules=linear_layers(model, holder)
    )
    model.requires_grad_(False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="fan_in_fan_out")  # it sees by itself how GPT-2's layers lie
        inject_adapter_in_model(wanted, holder, adapter_name=ADAPTER)


def linear_layers(model: PreTrainedModel, holder: nn.Module) -> list[str]:
    """The names of all of a model's but its head, within its holder."""
    head, linear = model.get_output_embeddings(), (nn.Linear, Conv1D)
    return [name for name, part in holder.named_modules() if isinstance(part, linear) and part is not head]


def merged(model: PreTrainedModel, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """All weights, of adapters too, as the model without adapters has them."""
    from peft.tuners.lora import LoraLayer

    found = {name.replace(".base_layer.", "."): one for name, one in weights.items() if ".lora_" not in name}
    for name, layer in model.named_modules():
        if isinstance(layer, LoraLayer):
            down, up = (weights[f"{name}.lora_{part}.{ADAPTER}.weight"] for part in "AB")
            away = layer.scaling[ADAPTER] * (up @ down)
            found[f"{name}.weight"] = found[f"{name}.weight"] + (
                away.T if getattr(layer, "fan_in_fan_out", False) else away
            )
    return found
