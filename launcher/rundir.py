"""Every path of a run, one property each. Pure: this module never touches the disk."""

from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class RunDir:
    """One run's directory, for one attempt (counted from 1) and, in a run on several nodes, for one node.

    Nodes that share the directory write different files.
    """

    root: Path
    attempt: int = 1
    node: int | None = None  # rank of the node; None for a run on one node

    def of(self, attempt: int) -> "RunDir":
        """The same directory, seen from another attempt."""
        return replace(self, attempt=attempt)

    def on(self, node: int | None) -> "RunDir":
        """The same directory, seen from another node."""
        return replace(self, node=node)

    @property
    def own(self) -> Path:
        """The directory that only this node writes to, besides its logs. For node 0, the run's directory itself."""
        return self.all_nodes / f"node_{self.node}" if self.node else self.root

    @property
    def all_nodes(self) -> Path:
        """The directories of all nodes but node 0."""
        return self.root / "nodes"

    @property
    def folders(self) -> tuple[str, ...]:
        """The names of the folders in the run's directory."""
        made = (self.all_nodes, self.all_logs, self.all_metrics, self.checkpoints, self.rollouts, self.all_weights)
        more = (self.all_samples, self.wandb, self.model)
        return tuple(path.name for path in (*made, *more, self.component_config("any").parent))

    @property
    def config(self) -> Path:
        """The resolved configuration. `launch rl @ config.toml` repeats it as a new run."""
        return self.own / "config.toml"

    @property
    def job_script(self) -> Path:
        """The script that was submitted to Slurm."""
        return self.root / "job.sbatch"

    @property
    def jobset(self) -> Path:
        """What was submitted to Kubernetes."""
        return self.root / "jobset.yaml"

    def slurm_log(self, job: str) -> Path:
        """The batch script's own output, over all attempts of this job."""
        return self.all_logs / f"slurm-{job}.log"

    def component_config(self, component: str) -> Path:
        """The component's own configuration."""
        return self.own / "configs" / f"{component}.toml"

    @property
    def state(self) -> Path:
        """The run's state, written atomically at each change."""
        return self.own / "run.json"

    @property
    def lock(self) -> Path:
        """Locked (flock) by the supervisor while it lives."""
        return self.own / ".lock"

    @property
    def control(self) -> Path:
        """The socket at which the supervisor takes requests while it lives."""
        return self.own / ".control"

    @property
    def reserve(self) -> Path:
        """Reserves disk space for the last write of run.json."""
        return self.own / ".reserve"

    @property
    def all_logs(self) -> Path:
        return self.root / "logs"

    @property
    def latest_logs(self) -> Path:
        """A link to the newest attempt's logs. It moves: do not keep it open."""
        return self.all_logs / "latest"

    @property
    def attempt_logs(self) -> Path:
        """This attempt's logs, of all nodes."""
        return self.all_logs / f"attempt_{self.attempt}"

    @property
    def logs(self) -> Path:
        """This attempt's logs, of this node."""
        return self.attempt_logs if self.node is None else self.attempt_logs / f"node_{self.node}"

    @property
    def launcher_log(self) -> Path:
        """What the supervisor did and saw."""
        return self.logs / "launcher.log"

    @property
    def watchdog_stacks(self) -> Path:
        """All processes' stacks, as the watchdog saw them."""
        return self.logs / "stacks.txt"

    @property
    def on_exit_log(self) -> Path:
        """The output of the `--on-exit` command."""
        return self.logs / "on_exit.log"

    def component_log(self, component: str) -> Path:
        """The component's stdout and stderr."""
        return self.logs / f"{component}.log"

    def rank_logs(self, component: str = "trainer") -> Path:
        return self.logs / component

    def rank_log(self, rank: int, component: str = "trainer") -> Path:
        """One rank's loguru file. `rank` is global."""
        return self.rank_logs(component) / f"rank_{rank}.log"

    @property
    def all_stacks(self) -> Path:
        return self.logs / "stacks"

    def stacks(self, pid: int) -> Path:
        """Where a process writes its stacks when `launch stacks` asks it to."""
        return self.all_stacks / f"{pid}.txt"

    @property
    def sockets(self) -> Path:
        """The sockets of the ranks' flight recorders, named by pid, while the run lives. Mode 0700."""
        return self.logs / "sockets"

    @property
    def flight_recorder(self) -> Path:
        """torch's dumps of the ranks' collectives, written when NCCL times out or on request."""
        return self.logs / "flight_recorder"

    def flight_record(self, rank: int | str) -> Path:
        """One rank's dump. `rank` is global."""
        return self.flight_recorder / f"rank_{rank}"

    @property
    def all_waits(self) -> Path:
        return self.logs / "waits"

    def wait(self, component: str) -> Path:
        """What the component waits for, and since when. Missing while it does not wait."""
        return self.all_waits / f"{component}.json"

    @property
    def marks(self) -> Path:
        """When each component had done what part of its start, one JSON object per line."""
        return self.logs / "timeline.jsonl"

    @property
    def torchrun(self) -> Path:
        """torchrun's `--log-dir`, unless the user names another."""
        return self.logs / "torchrun"

    @property
    def all_metrics(self) -> Path:
        return self.root / "metrics"

    def metrics(self, component: str) -> Path:
        """One JSON object per step."""
        return self.all_metrics / f"{component}.jsonl"

    @property
    def all_samples(self) -> Path:
        return self.root / "samples"

    def samples(self, component: str) -> Path:
        """Prompts, completions and rewards, one file for each step."""
        return self.all_samples / component

    @property
    def model(self) -> Path:
        """The model `tiny` that the run starts from; each node makes its own."""
        return self.own / "model"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    def checkpoint(self, step: int) -> Path:
        return self.checkpoints / f"step_{step}"

    @property
    def checkpoint_request(self) -> Path:
        """While it exists, somebody waits for a checkpoint. The trainer removes it after having written one."""
        return self.root / "checkpoint_now"

    @property
    def rollouts(self) -> Path:
        return self.root / "rollouts"

    def rollout(self, step: int) -> Path:
        """The batch that the orchestrator hands to the trainer for one step."""
        return self.rollouts / f"step_{step}.safetensors"

    @property
    def all_weights(self) -> Path:
        return self.root / "weights"

    def weights(self, step: int) -> Path:
        """The policy after `step` updates, for the inference server to load."""
        return self.all_weights / f"step_{step}"

    @property
    def wandb(self) -> Path:
        return self.root / "wandb"

    def wandb_link(self, component: str) -> Path:
        """The URL of the component's W&B run, and its data not yet uploaded."""
        return self.wandb / f"{component}.json"
