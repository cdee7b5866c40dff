"""launch: start, watch, stop and diagnose RL and SFT runs.

What users' own entry points take from here is loaded when it is first asked for.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from launcher.instrumentation.marks import mark
    from launcher.instrumentation.waiting import waiting_for
    from launcher.logger import get_logger, setup_logger
    from launcher.monitor import get_monitor, setup_monitor

__all__ = ["get_logger", "get_monitor", "mark", "setup_logger", "setup_monitor", "waiting_for"]
_MODULES = {
    "logger": "launcher.logger",
    "monitor": "launcher.monitor",
    "mark": "launcher.instrumentation.marks",
    "for": "launcher.instrumentation.waiting",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'launcher' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_MODULES[name.rpartition("_")[2]]), name)
