"""The most memory that a pack took."""

import resource
from contextlib import suppress
from pathlib import Path

import torch

_PEAKS = Path("/proc/self/clear_refs")  # Linux: 5 sets the peak to what is resident now
_RESET_PEAK = "5"
_STATUS = Path("/proc/self/status")


def reset_peak_memory(device: torch.device) -> None:
    """The peak is counted from here on; without a GPU only where the system lets a process do that."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):
        _PEAKS.write_text(_RESET_PEAK)


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory in MiB since it was reset: of the GPU where there is one, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    with suppress(OSError):  # getrusage also knows the peak of what ran before exec, which no reset touches
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
