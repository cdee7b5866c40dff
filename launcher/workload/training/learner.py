"""What both trainers do with a loss: gradients over all ranks and micro-batches, AdamW with a warm-up, checkpoints.

A step's loss is a sum over all of its tokens, on whichever rank and in whichever micro-batch each of them is. So a step
is the same on any number of ranks, sharded or not, but for the rounding of its sums.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from math import cos, isfinite, pi
from pathlib import Path

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.nn.utils import clip_grad_norm_
from transformers import AutoConfig

from launcher.checkpoints import resolve_model, steps_in
from launcher.config.training import OptimizerConfig, RLTrainerConfig, SFTTrainerConfig
from launcher.config.workload import TINY, ModelConfig
from launcher.errors import UserError
from launcher.logger import get_logger
from launcher.workload.entry import forget_metrics, run_dir
from launcher.workload.files import appearing, clear_drafts, remove, resume_step
from launcher.workload.models.find import find_model
from launcher.workload.models.load import context_of
from launcher.workload.models.tokenizer import Tokenizer, load_tokenizer
from launcher.workload.models.weights import save_weights
from launcher.workload.ranks import World
from launcher.workload.training.checkpoint import TrainingState, data_of, save_model, write_data
from launcher.workload.training.lora import add_adapters
from launcher.workload.training.parallel import ParallelScorer, read_model
from launcher.workload.training.prefixes import longest_row
from launcher.workload.training.rows import A_PASS, Sharing, micro_batches
from launcher.workload.training.scorer import Scorer, Scoring, Terms, TokenTerms
from launcher.workload.training.sequences import Sequences

MOST_UNUSABLE = 5  # steps in a row whose gradients are not finite


@dataclass(frozen=True)
class Learned:
    """What came of the tokens of one pass over a batch."""

    loss: float  # the sum over the tokens of all ranks, weighted
    means: dict[str, float]  # of each term, over the tokens of all ranks
    terms: Terms  # of this rank's tokens, each (M,)
    tokens: Tensor  # (M,) which of the batch's tokens these are


class Learner:
    """The model that learns; the same on every rank, before and after each update.

    Raises UserError when there is a checkpoint where none may be, or one that does not fit.
    """

    def __init__(self, config: RLTrainerConfig | SFTTrainerConfig, ranks: World) -> None:
        self.config, self.ranks, self.run = config, ranks, run_dir(config)
        self.last_step = config.max_steps
        torch.manual_seed(config.seed + ranks.rank)
        self.step = self._saved = ranks.from_first(lambda: resume_step(self.run))  # updates so far
        if not self.step and ranks.is_first and steps_in(self.run.checkpoints):
            hint = f"--attempt {self.run.attempt + 1} continues it; another --output-dir starts a new one"
            raise UserError(f"{self.run.checkpoints} holds the checkpoints of an earlier run", hint)
        self.name = ranks.from_first(self._find)
        self.tokenizer: Tokenizer = load_tokenizer(self.name) if ranks.is_first else None
        model = read_model(self.name, ranks, config.model.dtype)
        self.sharing = ranks.from_first(lambda: what_is_shared(Scorer(model)))
        if config.lora.rank:
            add_adapters(model, config.lora)
        scorer = Scorer(model, has_adapters=config.lora.rank > 0)
        self.model = ParallelScorer(scorer, ranks, config)
        self.parameters = [one for one in scorer.parameters() if one.requires_grad]
        self.optimizer = self._make_optimizer()
        self._data = ""  # the digest of the examples; only SFT has a fixed number of them
        self._unusable = 0  # steps in a row whose gradients were not finite
        self.state = TrainingState(scorer, self.optimizer, ranks)
        forget_metrics(self.run, self.step)
        if self.step:
            self.state.load(self.run.checkpoint(self.step))
            get_logger().info("continuing from the checkpoint of step {}", self.step)
        if ranks.is_first:
            clear_drafts(self.run.checkpoints)

    @property
    def context(self) -> int:
        """The longest sequence that the model takes, in tokens."""
        return context_of(self.model.scorer.model)

    @property
    def width(self) -> int:
        """Numbers in the hidden state of a token."""
        return int(self.model.scorer.model.config.get_text_config().hidden_size)

    @property
    def vocabulary(self) -> int:
        """How many tokens the model has."""
        return int(self.model.scorer.model.config.get_text_config().vocab_size)

    def update(self, batch: Sequences, terms: TokenTerms, temperature: float = 1.0) -> Learned:
        """Take one step against the loss of a batch that every rank has; its metrics come back.

        A gradient that is not finite would make every weight NaN: such a step leaves the weights as they are. Raises
        UserError after several of them in a row.
        """
        self.step += 1
        learned = self._pass(batch, self._scoring(batch, terms, temperature), learns=True)
        norm = clip_grad_norm_(self.parameters, self.config.optimizer.max_norm)
        whole = float(norm.full_tensor() if isinstance(norm, DTensor) else norm)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate
        if self._is_usable(whole):
            self.optimizer.step()
        self.optimizer.zero_grad()
        metrics = {"optimizer/grad_norm": whole, "optimizer/lr": self.learning_rate}
        return replace(learned, means=learned.means | metrics)

    def _is_usable(self, norm: float) -> bool:
        if isfinite(norm):
            self._unusable = 0
            return True
        self._unusable += 1
        get_logger().warning("step {} changes no weight: the norm of its gradient is {}", self.step, norm)
        if self._unusable == MOST_UNUSABLE:
            raise UserError(
                f"the gradients of {MOST_UNUSABLE} steps in a row are not finite, up to step {self.step}",
                "try a lower --trainer.optimizer.lr, and look at the data of these steps",
            )
        return False

    @torch.no_grad()
    def look_at(
        self, batch: Sequences, terms: TokenTerms, temperature: float = 1.0, model: ParallelScorer | None = None
    ) -> Learned:
        """The same without learning anything; another model may look."""
        return self._pass(batch, self._scoring(batch, terms, temperature), model)

    def _scoring(self, batch: Sequences, terms: TokenTerms, temperature: float) -> Scoring:
        return Scoring(terms, torch.from_numpy(batch.weights).to(self.ranks.device), temperature)

    def _pass(
        self, batch: Sequences, scoring: Scoring, model: ParallelScorer | None = None, learns: bool = False
    ) -> Learned:
        ranks, model = self.ranks, model or self.model
        a_pass, max_tokens = A_PASS[ranks.device.type], self.config.max_tokens
        shares = self.sharing == Sharing.PREFIXES
        longest = longest_row(self.width, batch, ranks.count, max_tokens) if shares else 0
        packs = self.sharing != Sharing.NOTHING
        micro = micro_batches(batch, ranks.rank, ranks.count, max_tokens, self.context, a_pass, longest, packs)
        total, found = torch.zeros((), dtype=torch.float64), []
        for part in micro:
            with model.accumulating(is_last=part is micro[-1]):
                loss, terms = model(part, scoring)
                if learns:
                    model.backward(loss)
            total += loss.detach().cpu()
            found.append(terms)
        terms = {name: torch.cat([one[name] for one in found]) for name in found[0]}
        sums = torch.stack([total, *(term.double().sum().cpu() for term in terms.values())]).to(ranks.device)
        loss_sum, *term_sums = ranks.sum(sums).tolist()
        count = max(1, int((batch.weights != 0).sum()))
        means = {name: value / count for name, value in zip(terms, term_sums, strict=True)}
        return Learned(loss_sum, means, terms, torch.cat([part.learned for part in micro]))

    @property
    def learning_rate(self) -> float:
        """The rate of the newest update."""
        return self.config.highest_rate * share_of_rate(self.step, self.last_step, self.config.optimizer)

    def publish(self) -> None:
        """Write the weights for the inference server."""
        weights = self.model.weights()
        if self.ranks.is_first:
            with appearing(self.run.weights(self.step)) as draft:
                save_weights(weights, draft, attempt=self.run.attempt, step=self.step)

    def remember_data(self, data: str) -> None:
        """On the first rank: keep the data's digest with each checkpoint, and say so when the run goes on with others.

        Which examples come next, and which are held out, follows from all of them. A file may have grown since the
        checkpoint, a data set on the hub may have a new version.
        """
        self._data = data
        before = data_of(self.run.checkpoint(self.step)) if self.step else None
        if before not in (None, data):
            get_logger().warning(
                "the data are not those of the {} steps so far: their order is another one from here, and examples "
                "that are held out now may have been learned",
                self.step,
            )

    def save_checkpoint_if_due(self) -> None:
        """Write one after every `interval` updates, and when `launch checkpoint` has asked. All ranks meet here."""
        interval, request = self.config.checkpoint.interval, self.run.checkpoint_request
        is_asked = self.ranks.highest(int(self.ranks.is_first and request.exists()))
        if is_asked or (interval > 0 and self.step % interval == 0):
            self.save_checkpoint()
        if is_asked and self.ranks.is_first:
            request.unlink(missing_ok=True)

    def save_checkpoint(self) -> None:
        """Write the checkpoint of this step, unless it is there already, and remove the oldest ones."""
        if self.step == self._saved:
            return
        weights, path = self.model.weights(), self.run.checkpoint(self.step)
        with self._appearing(path) as draft:
            if self.ranks.is_first:
                save_model(draft, self.model.scorer.model, self.tokenizer, weights)
            self.state.save(draft)
            if self._data:
                write_data(draft, self._data)
        if self.ranks.is_first:
            for old in steps_in(self.run.checkpoints)[: -self.config.checkpoint.keep]:
                remove(self.run.checkpoint(old))
            get_logger().info("checkpoint of step {}", self.step)
        self._saved = self.step

    @contextmanager
    def _appearing(self, path: Path) -> Iterator[Path]:
        """A directory for all ranks to write to; it appears as `path` when all have."""
        with appearing(path) if self.ranks.is_first else nullcontext(path) as mine:
            if self.ranks.is_first:
                mine.mkdir()
            yield self.ranks.from_first(lambda: mine, within=self.ranks.timeout)
            self.ranks.highest(0)

    def _find(self) -> str:
        if not self.step:
            return find_model(self.config.model, self.config)
        checkpoint = self.run.checkpoint(self.step)
        has, asked = shape_of(str(checkpoint)), asked_shape(self.config.model)
        if asked not in (has, None):
            raise UserError(f"cannot continue from {checkpoint}: it has {has}, the configuration asks for {asked}")
        if self.config.lora.rank:  # the checkpoint's weights are merged; those without adapters have not changed
            return find_model(self.config.model, self.config)
        return str(checkpoint)

    def _make_optimizer(self) -> torch.optim.AdamW:
        wanted = self.config.optimizer
        betas = (wanted.beta1, wanted.beta2)
        rate, decay = self.config.highest_rate, wanted.weight_decay
        return torch.optim.AdamW(self.parameters, rate, betas, weight_decay=decay, fused=True)


def what_is_shared(scorer: Scorer) -> Sharing:
    """What sequences may share in the model's rows. Raises UserError when it cannot be trained here."""
    scorer.check()
    return scorer.sharing()


def share_of_rate(step: int, last: int, wanted: OptimizerConfig) -> float:
    """Which share of the learning rate an update has: a linear warm-up, then the schedule, down to 0 after the last."""
    warmup = wanted.warmup_steps
    if step <= warmup:
        return step / warmup
    done = (step - 1 - warmup) / max(1, last - warmup)
    if wanted.schedule == "linear":
        return 1 - done
    return (1 + cos(pi * done)) / 2 if wanted.schedule == "cosine" else 1.0


def asked_shape(wanted: ModelConfig) -> str | None:
    """The shape that the configuration asks for. None where the model to start from is gone by now."""
    if wanted.name == TINY:
        return _describe("gpt2", wanted.tiny.layers, wanted.tiny.dim, wanted.tiny.heads, wanted.tiny.context)
    try:
        return shape_of(resolve_model(wanted.name))
    except UserError:
        return None


def shape_of(name: str) -> str:
    """The shape of the model at a directory or hub id. Raises UserError."""
    try:
        config = AutoConfig.from_pretrained(name).get_text_config()
    except (OSError, ValueError) as error:
        raise UserError(f"cannot load the model {name}: {error}") from error
    names = ("num_hidden_layers", "hidden_size", "num_attention_heads", "max_position_embeddings")
    return _describe(config.model_type, *(getattr(config, name, 0) for name in names))


def _describe(kind: str, layers: int, dim: int, heads: int, context: int) -> str:
    return f"{kind} (layers={layers}, dim={dim}, heads={heads}, context={context})"
