"""torchrun's per-rank files without a random part in their path: `<log-dir>/<rdzv_id>/attempt_<restart>/<rank>/…`.

torchrun loads it through the entry-point group `torchrun.logs_specs`; nothing else imports it. It imports nothing of
ours, so a Python without our package can load it. torch's own class adds a random directory to the path and deletes an
attempt's directory that already exists.
"""

import os
from pathlib import Path
from typing import Any

from torch.distributed.elastic.multiprocessing.api import LogsDest, LogsSpecs, Std, to_map

OWN_PYTHONPATH = "LAUNCH_PYTHONPATH"  # the PYTHONPATH of the ranks; launcher.plan.environment sets it
CONSOLE = ""  # torch's value for "not redirected"


class LaunchLogsSpecs(LogsSpecs):
    """The files of `torchrun --redirects/--tee`, in one directory for each local rank."""

    def __init__(self, **settings: Any) -> None:
        """Create the root. Raises OSError now: after the rendezvous, torchrun would hang and not exit."""
        super().__init__(**settings)
        Path(self.root_log_dir).mkdir(parents=True, exist_ok=True)

    @property
    def root_log_dir(self) -> str:
        return str(self._root_log_dir)

    def reify(self, envs: dict[int, dict[str, str]]) -> LogsDest:
        """Create this restart's directories. Returns where each local rank's streams go.

        Raises OSError if the directories cannot be created.
        """
        first = next(iter(envs.values()), {})
        restart = f"attempt_{first.get('TORCHELASTIC_RESTART_COUNT', '0')}"
        root = Path(self.root_log_dir) / first.get("TORCHELASTIC_RUN_ID", "none") / restart
        redirects, tees = to_map(self._redirects, len(envs)), to_map(self._tee, len(envs))
        files = LogsDest()
        for rank, env in envs.items():
            directory = root / str(rank)
            directory.mkdir(parents=True, exist_ok=True)
            shown = not self._local_ranks_filter or rank in self._local_ranks_filter
            written = redirects[rank] | tees[rank]  # a teed stream is a file that torchrun follows
            elsewhere = CONSOLE if shown else "/dev/null"
            files.stdouts[rank] = str(directory / "stdout.log") if written & Std.OUT else elsewhere
            files.stderrs[rank] = str(directory / "stderr.log") if written & Std.ERR else elsewhere
            if shown and tees[rank] & Std.OUT:
                files.tee_stdouts[rank] = files.stdouts[rank]
            if shown and tees[rank] & Std.ERR:
                files.tee_stderrs[rank] = files.stderrs[rank]
            if OWN_PYTHONPATH in os.environ:  # torchrun's own PYTHONPATH only serves to find this module
                env["PYTHONPATH"] = os.environ[OWN_PYTHONPATH]
            files.error_files[rank] = env["TORCHELASTIC_ERROR_FILE"] = str(directory / "error.json")
        if hasattr(files, "filtered_stdout"):  # --duplicate-stdout-filters, since torch 2.10
            files.filtered_stdout = str(root / "filtered_stdout.log")
            files.filtered_stderr = str(root / "filtered_stderr.log")
        return files
