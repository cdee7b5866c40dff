"""For a Python without a GPU: prime-rl's orchestrator imports its trainer's GPU packages, and calls none of them.

Python imports this module at its start, where this directory is in PYTHONPATH. Only packages that are not
installed are replaced.
"""

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType
from unittest.mock import MagicMock

GPU_PACKAGES = {
    "dion", "fla", "mooncake", "nixl", "ring_flash_attn", "tilelang", "torchao", "torchtitan"
}  # fmt: skip


class GpuPackages(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        known = fullname.partition(".")[0] in GPU_PACKAGES
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True) if known else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = MagicMock(name=spec.name)
        module.__path__, module.__spec__, module.__name__ = [], spec, spec.name
        module.__version__ = "0"  # too old for all that transformers would do with it
        return module

    def exec_module(self, module: ModuleType) -> None:
        """It has no code."""


sys.meta_path.append(GpuPackages())
