"""A pack's peak memory is its own, not that of what the process did before."""

import sys

import pytest
import torch

from trainables.training.memory import peak_memory_mb, reset_peak_memory

CPU = torch.device("cpu")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process reset its peak")
def test_what_was_before_does_not_count() -> None:
    large = torch.ones(100 * 2**20 // 4)  # 100 MiB, given back to the system at once
    before = peak_memory_mb(CPU)
    del large
    reset_peak_memory(CPU)
    assert peak_memory_mb(CPU) < before - 50
    large = torch.ones(100 * 2**20 // 4)
    assert peak_memory_mb(CPU) > before - 50
    del large


def test_a_gpu_counts_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", calls.append)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3 * 2**20)
    reset_peak_memory(torch.device("cuda:2"))
    assert calls == [torch.device("cuda:2")]
    assert peak_memory_mb(torch.device("cuda:2")) == 3.0
