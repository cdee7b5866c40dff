"""Among how many GPUs vLLM can split a model. vLLM 0.32 refuses another number, in part minutes after its start.

Attention heads are checked in its `config/model.py`, the others where its layers are made: `QKVParallelLinear` and
`ColumnParallelLinear` in `layers/linear.py`, and `VocabParallelEmbedding`. Nothing of a model restricts data_parallel.
"""

from launcher.config.run import RLConfig
from launcher.config.workload import TINY
from launcher.errors import UserError
from launcher.plan.memory import ModelSize

PADDING = 64  # vLLM's embedding has a multiple of so many tokens


def check_tensor_parallel(config: RLConfig, size: ModelSize | None) -> None:
    """Raises UserError when vLLM cannot split the model so. `size` is None for tiny and where it is unknown."""
    parts, name = config.inference.tensor_parallel, config.trainer.model.name
    if name == TINY:
        heads = config.trainer.model.tiny.heads
        obstacle, possible = f"{heads} attention heads" if heads % parts else None, divisors(heads)
    elif size is not None:
        obstacle, possible = obstacle_to(size, parts), [n for n in divisors(size.heads) if not obstacle_to(size, n)]
    else:
        return
    if obstacle:
        what = f"inference.tensor_parallel = {parts}: vLLM cannot split {name} among {parts} GPUs, with {obstacle}"
        hint = f"--inference.tensor-parallel is {_one_of(possible)}; --inference.data-parallel adds whole copies"
        raise UserError(what, hint)


def obstacle_to(size: ModelSize, parts: int) -> str | None:
    """What of a model does not split into so many parts."""
    if size.heads % parts:
        return f"{size.heads} attention heads"
    if size.key_heads % parts and parts % size.key_heads:  # fewer of them than parts are copied
        return f"{size.key_heads} key-value heads"
    if not size.has_experts and size.inner % parts:
        return f"feed-forward layers of {size.inner}"
    if (padded := -(-size.vocabulary // PADDING) * PADDING) % parts:
        return f"a vocabulary of {padded} (a multiple of {PADDING})"
    return None


def divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]


def _one_of(numbers: list[int]) -> str:
    *others, last = map(str, numbers)
    return f"{', '.join(others)} or {last}" if others else last
