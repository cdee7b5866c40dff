"""What the machine knows of a failure that the program itself could not write down."""

import os
from contextlib import suppress
from pathlib import Path

FULL = 64 * 1024  # bytes; a disk with less is full


def full_disk(directory: Path) -> list[str]:
    with suppress(OSError):
        disk = os.statvfs(directory)
        if disk.f_bavail * disk.f_frsize < FULL:
            return [f"the disk of {directory} is full"]
    return []
