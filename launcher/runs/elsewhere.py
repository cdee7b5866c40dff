"""Published weights that lie on another file system than the run, in memory for example."""

import shutil
import tempfile
from pathlib import Path

from launcher.errors import UserError
from launcher.rundir import RunDir

MARK = "launch-weights-"


def put_weights_elsewhere(run: RunDir, parent: Path) -> None:
    """Make the run's directory of weights a link to a directory of its own below `parent`. Raises UserError."""
    remove_weights_elsewhere(run)
    link, target = run.all_weights, None
    try:
        if link.exists():
            shutil.rmtree(link)  # an earlier attempt's; the trainer publishes its own
        target = Path(tempfile.mkdtemp(prefix=MARK, dir=parent.absolute()))
        link.symlink_to(target)
    except OSError as error:
        if target is not None:
            target.rmdir()
        raise UserError(f"--weights-dir {parent}: {error.strerror}", "name a directory that you may write to") from None


def remove_weights_elsewhere(run: RunDir) -> None:
    """Remove the link and what it leads to, if there is one: memory is not left occupied."""
    link = run.all_weights
    if link.is_symlink():
        target = link.readlink()
        link.unlink()
        if target.name.startswith(MARK) and target.is_dir() and not target.is_symlink():
            shutil.rmtree(target, ignore_errors=True)
