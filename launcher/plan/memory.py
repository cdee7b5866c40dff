"""What a model takes of each GPU's memory: weights, gradients, optimizer and activations, by calculation.

AdamW with float32 master weights keeps 16 bytes a parameter: weights, gradients and two moments of 4 bytes each
(Rajbhandari et al., 2020, section 3.1, with gradients in float32). Activations are counted as what a decoder layer
keeps for its backward pass in the type of the arithmetic, with an attention that never builds its matrix (Dao et al.,
2022).
"""

from dataclasses import dataclass

from launcher.config.training import RLTrainerSettings, TrainerSettings
from launcher.config.workload import DType

HALF, FULL = 2, 4  # bytes of a bfloat16 and of a float32
MOMENTS = 2
LOGITS = 2**22  # numbers that a small vocabulary has at once; of a large one those of a few tokens
TOKENS_AT_ONCE = 512
COPIES_OF_LOGITS = 3  # in float32: themselves, their softmax, their gradient
GIGABYTE = 10**9
RESIDUAL = 6  # inputs of the norms, the attention and the sums, in widths of the residual stream


@dataclass(frozen=True)
class ModelSize:
    """The numbers of a decoder, from its config.json."""

    layers: int
    width: int  # of the residual stream
    heads: int  # of the attention
    key_heads: int  # the key-value heads; fewer than heads with grouped queries
    head: int  # width of a head
    inner: int  # of the feed-forward layer; with experts, of those that a token passes
    all_inner: int  # with experts, of all of them
    matrices: int  # of the feed-forward layer: 3 with a gate, 2 without
    vocabulary: int
    positions: int  # learned ones, 0 with rotary embeddings
    is_tied: bool
    context: int = 0  # its longest sequence, in tokens; 0 if that is not said

    @property
    def queries(self) -> int:
        return self.heads * self.head

    @property
    def keys(self) -> int:
        return self.key_heads * self.head

    @property
    def has_experts(self) -> bool:
        return self.inner != self.all_inner

    @property
    def layer(self) -> int:
        """Parameters of a decoder layer; norms and biases are left out, which are below a thousandth."""
        attention = 2 * self.width * (self.queries + self.keys)
        return attention + self.matrices * self.width * self.all_inner

    @property
    def embeddings(self) -> int:
        """Parameters outside the layers."""
        return self.width * (self.vocabulary * (1 if self.is_tied else 2) + self.positions)

    @property
    def parameters(self) -> int:
        return self.layers * self.layer + self.embeddings


@dataclass(frozen=True)
class Training:
    """How it is trained, as far as it decides the memory of a GPU."""

    ranks: int
    is_sharded: bool  # FSDP2; DDP keeps everything on every rank
    tokens: int  # of a micro-batch
    recomputes: bool  # activation checkpointing
    adapter: int = 0  # LoRA's rank; 0 trains all parameters
    number: int = HALF  # bytes of a number in the arithmetic
    has_reference: bool = False  # for the KL divergence, the model that the run starts from stays in memory


def training(trainer: TrainerSettings, ranks: int) -> Training:
    """The configuration's way of training, on `ranks` ranks in all."""
    recomputes, adapter = trainer.activation_checkpointing, trainer.lora.rank
    return Training(
        ranks,
        trainer.parallel == "fsdp",
        trainer.max_tokens,
        recomputes,
        adapter,
        bytes_of(trainer.model.dtype),
        isinstance(trainer, RLTrainerSettings) and trainer.loss.kl > 0,
    )


def bytes_of(dtype: DType) -> int:
    """Of a number of this type."""
    return HALF if dtype == "bfloat16" else FULL


@dataclass(frozen=True)
class Memory:
    """Bytes on one GPU."""

    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.activations

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {value / GIGABYTE:.1f}" for name, value in vars(self).items())
        return f"{self.total / GIGABYTE:.1f} GB a rank, by calculation: {parts}"

    def beyond(self, gpu: int, served: float = 0.0) -> str | None:
        """What to tell the user if it does not fit on a GPU of so many bytes; 0 means an unknown number.

        `served` is the share of it that a server on the same GPU takes.
        """
        if not gpu or self.total <= gpu * (1 - served):
            return None
        what = f"the trainer will take about {self.total / GIGABYTE:.0f} GB of each GPU, which has {gpu / GIGABYTE:.0f}"
        what += f", and vLLM takes {served:.0%} of it (inference.gpu_memory)" if served else ""
        return f"{what}: try more ranks, --trainer.activation-checkpointing, a lower --trainer.max-tokens or LoRA"


def training_memory(size: ModelSize, how: Training) -> Memory:
    """What one rank of the trainer takes."""
    share = how.ranks if how.is_sharded else 1
    trained = size.parameters if not how.adapter else _adapter(size, how.adapter)
    kept = size.parameters * (2 if how.has_reference else 1) + (trained if how.adapter else 0)
    # the embeddings and two layers, one at work and one on its way, are gathered; DDP casts all, unless to float32
    whole = size.parameters if how.number != FULL else 0
    gathered = how.number * (size.embeddings + 2 * size.layer if how.is_sharded else whole)
    return Memory(
        weights=FULL * kept // share + gathered,
        gradients=FULL * trained // share,
        optimizer=MOMENTS * FULL * trained // share,
        activations=_activations(size, how),
    )


def _adapter(size: ModelSize, rank: int) -> int:
    """LoRA's parameters on all linear layers (Hu et al., 2021): two thin matrices beside each."""
    attention = 2 * (size.width + size.queries) + 2 * (size.width + size.keys)
    return size.layers * rank * (attention + size.matrices * (size.width + size.inner))


def _activations(size: ModelSize, how: Training) -> int:
    layer = RESIDUAL * size.width + 2 * (size.queries + size.keys) + size.matrices * size.inner
    kept = size.layers * size.width + layer if how.recomputes else size.layers * layer
    head = 0 if how.adapter else size.width * size.vocabulary  # its gradient is summed in float32
    logits = COPIES_OF_LOGITS * min(how.tokens, tokens_at_once(size.vocabulary)) * size.vocabulary
    return how.number * how.tokens * kept + FULL * (logits + head)


def tokens_at_once(vocabulary: int) -> int:
    """Of how many tokens the logits are in memory at the same time.

    Each such part adds to the gradient of the whole head. Fewer tokens would keep a GPU waiting for that memory.
    """
    return max(TOKENS_AT_ONCE, LOGITS // vocabulary)


def serving_memory(size: ModelSize, ranks: int, number: int = HALF) -> int:
    """The weights on one of `ranks` GPUs, in bytes; the cache of keys and values takes what is left."""
    return number * size.parameters // ranks


def serving_text(size: ModelSize, ranks: int, dtype: DType) -> str:
    """What a server on so many GPUs takes of each, for users."""
    weights = serving_memory(size, ranks, bytes_of(dtype)) / GIGABYTE
    return f"{weights:.1f} GB of weights a GPU; its cache of keys and values takes what is left"
