"""A pack's peak memory is its own, not that of what the process did before."""

import mmap
import sys

import pytest
import torch

from trainables.training.memory import peak_memory_mb, reset_peak_memory

CPU = torch.device("cpu")


def take_and_give_back(num_mib: int) -> None:
    """Of the system itself: an allocator may serve from what it kept, and keep what it is given."""
    with mmap.mmap(-1, num_mib * 2**20) as block:
        torch.frombuffer(block, dtype=torch.uint8).fill_(1)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process reset its peak")
def test_what_was_before_does_not_count() -> None:
    reset_peak_memory(CPU)
    take_and_give_back(100)
    before = peak_memory_mb(CPU)
    reset_peak_memory(CPU)
    assert peak_memory_mb(CPU) < before - 50
    take_and_give_back(100)
    assert peak_memory_mb(CPU) > before - 50


def test_a_gpu_counts_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", calls.append)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: 3 * 2**20)
    reset_peak_memory(torch.device("cuda:2"))
    assert calls == [torch.device("cuda:2")]
    assert peak_memory_mb(torch.device("cuda:2")) == 3.0
