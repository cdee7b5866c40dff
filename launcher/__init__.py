"""launch: start, watch, stop and diagnose RL and SFT runs.

Users' own entry points take two things from here; both are loaded when they are first asked for.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from launcher.logger import get_logger, setup_logger
    from launcher.monitor import get_monitor, setup_monitor

__all__ = ["get_logger", "get_monitor", "setup_logger", "setup_monitor"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'launcher' has no attribute {name!r}")
    from importlib import import_module

    module = "launcher.logger" if name.endswith("logger") else "launcher.monitor"
    return getattr(import_module(module), name)
