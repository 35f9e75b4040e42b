"""The GPUs of this machine, counted without torch: cluster.gpus_per_worker=null is chosen by them."""

from __future__ import annotations

import os
from pathlib import Path

_DEVICES = Path("/dev")


def num_local_gpus(devices: Path = _DEVICES) -> int:
    """NVIDIA's device files, or as many of them as CUDA_VISIBLE_DEVICES leaves."""
    there = sum(path.name.removeprefix("nvidia").isdecimal() for path in devices.glob("nvidia*"))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return there
    named = [one.strip() for one in visible.split(",")]
    return min(there, next((index for index, one in enumerate(named) if one in ("", "-1")), len(named)))


def default_gpus_per_worker(address: str) -> int:
    """1 where Ray is started here and this machine has a GPU; else 0: of another machine nothing is known yet."""
    return 1 if address == "local" and num_local_gpus() else 0
