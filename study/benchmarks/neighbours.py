"""Precision and recall of 50,000 against 50,000 features of Inception's width, and how far from torch-fidelity's."""

from __future__ import annotations

import os
import time

import torch

from study.benchmarks.measuring import Options, Result
from trainables.evaluation.extractors import EXTRACTORS
from trainables.evaluation.neighbours import neighbourhood_radii, share_within
from trainables.training.memory import peak_memory_mb

NUM_FEATURES, WIDTH, NUM_COMPARED, NEIGHBOURS = 50_000, 2048, 4000, 3


def run(options: Options) -> Result:
    """On all cores, or the threads that OMP_NUM_THREADS says; once, for it takes minutes."""
    threads = int(os.environ.get("OMP_NUM_THREADS", len(os.sched_getaffinity(0))))
    torch.set_num_threads(threads)
    generated, real = _features(NUM_FEATURES, 0), _features(NUM_FEATURES, 1)
    difference = _difference_from_torch_fidelity(generated[:NUM_COMPARED], real[:NUM_COMPARED])
    started = time.perf_counter()
    of_reference = neighbourhood_radii(real, NEIGHBOURS, options.device)
    kept = time.perf_counter()
    radii = neighbourhood_radii(generated, NEIGHBOURS, options.device)
    precision = share_within(generated, real, of_reference, options.device)
    recall = share_within(real, generated, radii, options.device)
    ended = time.perf_counter()
    values = {
        "reference_s": kept - started,
        "member_s": ended - kept,
        "both_s": ended - started,
        "peak_memory_mb": peak_memory_mb(options.device),
        "difference_from_torch_fidelity": difference,
    }
    row = {"features": NUM_FEATURES, "width": WIDTH, "threads": threads, "precision": precision, "recall": recall}
    return Result([row | values], values)


def _features(num: int, seed: int) -> torch.Tensor:
    """(num, WIDTH), not negative and few of them large, as Inception's."""
    generator = torch.Generator().manual_seed(seed)
    few = torch.randn(num, 32, generator=generator) @ torch.randn(32, WIDTH, generator=torch.Generator().manual_seed(9))
    return few.add_(torch.randn(num, 1, generator=generator)).relu_()


def _difference_from_torch_fidelity(generated: torch.Tensor, real: torch.Tensor) -> float:
    """The larger of the two differences, of so few features that torch-fidelity holds all their distances."""
    assert EXTRACTORS  # before torch-fidelity: it makes torchvision importable
    from torch_fidelity.metric_prc import prc_features_to_metric

    theirs = prc_features_to_metric(generated, real, prc_neighborhood=NEIGHBOURS, save_cpu_ram=True, verbose=False)
    precision = share_within(generated, real, neighbourhood_radii(real, NEIGHBOURS))
    recall = share_within(real, generated, neighbourhood_radii(generated, NEIGHBOURS))
    return max(abs(precision - float(theirs["precision"])), abs(recall - float(theirs["recall"])))
