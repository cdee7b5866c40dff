"""What all peers are given alike: on the CPU in float32, without files, reports or progress bars."""

from typing import Any

QUIET: dict[str, Any] = {
    "logging_steps": 1000,
    "save_strategy": "no",
    "report_to": [],
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "dataloader_pin_memory": False,
    "disable_tqdm": True,
}
