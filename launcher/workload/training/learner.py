"""What both trainers do with a loss: gradients over all ranks, AdamW with a warm-up, checkpoints, going on from them.

Left out: gradient accumulation, sharded weights, any schedule beyond the warm-up. A checkpoint holds no generator's
state and no place in the data, because every draw of the trainers is a function of the seed and the step.
"""

from pickle import UnpicklingError

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_

from launcher.checkpoints import steps_in
from launcher.config.training import RLTrainerConfig, SFTTrainerConfig
from launcher.config.workload import ModelConfig
from launcher.errors import UserError
from launcher.logger import get_logger
from launcher.workload.entry import forget_metrics, run_dir
from launcher.workload.files import appearing, clear_drafts, remove, resume_step
from launcher.workload.model import Transformer
from launcher.workload.ranks import World
from launcher.workload.weights import build_model, configured_shape, load_model, read_shape, save_model

OPTIMIZER = "optimizer.pt"


class Learner:
    """The model that learns; the same on every rank, before and after each update.

    Checkpoints are the first rank's business: the others may be on nodes that do not share its directory.
    Raises UserError when there is a checkpoint where none may be, or one that does not fit.
    """

    def __init__(self, config: RLTrainerConfig | SFTTrainerConfig, ranks: World) -> None:
        self.config, self.ranks, self.run = config, ranks, run_dir(config)
        self.step = self._saved = ranks.from_first(lambda: resume_step(self.run))  # updates so far
        if not self.step and ranks.is_first and steps_in(self.run.checkpoints):
            hint = f"--attempt {self.run.attempt + 1} continues it; another --output-dir starts a new one"
            raise UserError(f"{self.run.checkpoints} holds the checkpoints of an earlier run", hint)
        self.model = self._starting_model(config.model, config.seed).to(ranks.device)
        self.parallel = DistributedDataParallel(self.model) if ranks.count > 1 else self.model
        self.optimizer = self._make_optimizer()
        forget_metrics(self.run, self.step)
        if self.step:
            self._restore_optimizer()
            get_logger().info("continuing from {}", self.run.checkpoint(self.step))
        if ranks.is_first:
            clear_drafts(self.run.checkpoints)

    def update(self, loss: Tensor) -> float:
        """Take one step against a loss that is to be summed over all ranks, this rank's part given.

        The norm of the gradient before it was clipped comes back.
        """
        self.step += 1
        torch.autograd.backward(loss * self.ranks.count)  # DDP takes the mean over the ranks
        norm = clip_grad_norm_(self.model.parameters(), self.config.optimizer.max_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(norm)

    @property
    def learning_rate(self) -> float:
        """The rate of the newest update."""
        warmup = self.config.optimizer.warmup_steps
        return self.config.optimizer.lr * min(1.0, self.step / warmup if warmup else 1.0)

    @property
    def is_checkpoint_due(self) -> bool:
        interval = self.config.checkpoint.interval
        return interval > 0 and self.step % interval == 0

    def save_checkpoint(self) -> None:
        """Write the checkpoint of this step, unless it is there already, and remove the oldest ones."""
        if self.step == self._saved or not self.ranks.is_first:
            return
        with appearing(self.run.checkpoint(self.step)) as draft:
            save_model(self.model, draft, step=self.step)
            torch.save(self.optimizer.state_dict(), draft / OPTIMIZER)
        for old in steps_in(self.run.checkpoints)[: -self.config.checkpoint.keep]:
            remove(self.run.checkpoint(old))
        self._saved = self.step
        get_logger().info("checkpoint {}", self.run.checkpoint(self.step))

    def _starting_model(self, config: ModelConfig, seed: int) -> Transformer:
        if not self.step or not self.ranks.is_first:  # DistributedDataParallel gives all ranks the first one's weights
            return build_model(config, seed)
        checkpoint = self.run.checkpoint(self.step)
        has, asked = read_shape(checkpoint), configured_shape(config)
        if config.checkpoint is None and has != asked:
            raise UserError(f"cannot continue from {checkpoint}: it has {has}, the configuration asks for {asked}")
        return load_model(checkpoint, config)

    def _make_optimizer(self) -> torch.optim.AdamW:
        wanted = self.config.optimizer
        betas = (wanted.beta1, wanted.beta2)
        parameters = self.model.parameters()
        return torch.optim.AdamW(parameters, wanted.lr, betas, weight_decay=wanted.weight_decay, fused=True)

    def _restore_optimizer(self) -> None:
        path = self.run.checkpoint(self.step) / OPTIMIZER
        try:
            read = self.ranks.from_first(lambda: torch.load(path, map_location="cpu", weights_only=True))
            self.optimizer.load_state_dict(read)
        except (OSError, ValueError, KeyError, RuntimeError, EOFError, UnpicklingError) as error:
            raise UserError(f"cannot continue from {path}: {error}") from error
