"""The panes of a run while it lasts. libtmux is loaded only for a run that has panes."""

from typing import TYPE_CHECKING

from launcher.config.sections import TmuxConfig
from launcher.plan.spec import Plan
from launcher.rundir import RunDir
from launcher.runs.state import RunState

if TYPE_CHECKING:
    from launcher.view.tmux.panes import StatusLine


class RunPanes:
    """Opened at a run's start, renewed for each attempt, closed at its end unless they are to be kept."""

    def __init__(self, settings: TmuxConfig) -> None:
        self._settings = settings
        self._status: StatusLine | None = None

    def open(self, run: RunDir, state: RunState) -> str | None:
        """Open the panes and name their session in `state`. Returns why that failed, else None."""
        if not self._settings.enabled or state.job:  # nobody attaches on a node, and tmux would outlive the job
            return None

        from launcher.view.tmux.panes import layout_of
        from launcher.view.tmux.server import TmuxError, socket_around
        from launcher.view.tmux.session import open_panes

        state.tmux_socket = self._settings.socket_name or socket_around()
        try:
            state.tmux_session = open_panes(layout_of(run, state), state.tmux_socket)
        except TmuxError as error:
            return f"{error.message}; {error.hint}" if error.hint else error.message
        return None

    def show_status(self, plan: Plan, state: RunState) -> None:
        """Keep the status line at the newest step, in a thread: no fork may come after this."""
        if state.tmux_session is None:
            return
        from launcher.view.tmux.panes import StatusLine

        self._status = StatusLine(plan, state.tmux_session, state.tmux_socket)

    def renew(self, run: RunDir, state: RunState) -> None:
        """Show the files of a new attempt."""
        if state.tmux_session is None:
            return
        from launcher.view.tmux.panes import renew

        renew(run, state)

    def close(self, state: str) -> None:
        if self._status:
            self._status.close(state, self._settings.keep)
