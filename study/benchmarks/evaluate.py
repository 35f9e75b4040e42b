"""Evaluation: images/s of sampling and of features, and seconds of the metrics once the features are there."""

from __future__ import annotations

from typing import Any

import torch

from study.benchmarks.gpu.celeba_pack import CELEBA
from study.benchmarks.measuring import Options, Result, take_turns
from trainables.arithmetic import FLOAT32, matrix_products
from trainables.data import load_data
from trainables.data.dataset import to_uint8
from trainables.evaluation.extractors import make_extractor
from trainables.evaluation.fidelity import compute_metrics, image_features, reference_of
from trainables.evaluation.sample import sample_images, sample_together
from trainables.models import build_model
from trainables.process import PIXEL


def run(options: Options) -> Result:
    """Of the default study's student and protocol; on a GPU, of 12 CelebA students, in turn and as one."""
    if options.device.type == "cuda":
        return _on_gpu(options)
    from study.config.command_line import compose
    from study.config.parse import study_config

    config = study_config(compose("config", []))
    protocol, data = config.evaluation, load_data(config.data)
    student = torch.nn.Module.to(build_model(config.student, data.shape, seed=0), options.device).eval()
    extractor = make_extractor(protocol.feature_extractor, device=options.device)
    of_data = image_features(extractor, to_uint8(data.images), protocol.batch_size)
    reference = reference_of([of_data.features], of_data.num_images, protocol.neighbours)

    def sample() -> torch.Tensor:
        return sample_images(
            student,
            data,
            config.process,
            num_images=protocol.num_images,
            sampler=protocol.sampler,
            sampler_steps=protocol.sampler_steps,
            noise_seed=0,
            batch_size=protocol.batch_size,
        )

    samples = sample()
    features = image_features(extractor, samples, protocol.batch_size)
    times = take_turns(
        {
            "sampling": sample,
            "features": lambda: image_features(extractor, samples, protocol.batch_size),
            "metrics": lambda: compute_metrics(features, reference),
        },
        options,
    )
    values = {
        "sampling_images_per_s": protocol.num_images / times["sampling"].seconds,
        "feature_images_per_s": protocol.num_images / times["features"].seconds,
        "metrics_s": times["metrics"].seconds,
    }
    return Result([{"images": protocol.num_images, "steps": protocol.sampler_steps, **values}], values)


def _on_gpu(options: Options) -> Result:
    """`fused_sampling_speedup`: 128 images of each student in 20 steps of DDIM, of which the first captures a graph."""
    data = CELEBA.data(64)
    models = [build_model(CELEBA.student, data.shape, seed=seed) for seed in range(12)]
    students = [torch.nn.Module.to(model, options.device).eval().requires_grad_(False) for model in models]
    settings: dict[str, Any] = {"num_images": 128, "sampler_steps": 20, "noise_seed": 0, "batch_size": 64}
    with matrix_products(FLOAT32):
        times = take_turns(
            {
                "in turn": lambda: [sample_images(one, data, PIXEL, **settings) for one in students],
                "fused": lambda: list(sample_together(students, data, PIXEL, **settings)),
            },
            options,
        )
    rates = {name: 12 * 128 / taken.seconds for name, taken in times.items()}
    row = {"students": 12, "steps": 20, "in_turn_images_s": rates["in turn"], "fused_images_s": rates["fused"]}
    return Result([row], {"fused_sampling_speedup": times["in turn"].over(times["fused"])})
