"""Contracts of data sources, feature extractors, model families and samplers.

Shapes: N images, C channels, H height, W width, D features.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from trainables.contracts.finding import Finding, expected, tried
from trainables.data import DataShape, load_data, make_data
from trainables.data.dataset import Dataset
from trainables.data.own_data import OwnData, fresh_identity
from trainables.evaluation.extractors import make_extractor
from trainables.evaluation.fidelity import image_features
from trainables.families import predict
from trainables.models import build_model, count, example_inputs, load_model
from trainables.models.digest import weights_digest
from trainables.models.saved import save_model
from trainables.process import PIXEL
from trainables.specs import ModelSpec

_NUM_IMAGES = 24
_STEPS = 4
_TOLERANCE = 1e-4


def check_data(path: str, settings: Mapping[str, Any]) -> Iterator[Finding]:
    """Of a data source under its settings (the keys of `data`)."""
    spec = make_data({"source": path, **settings})
    assert isinstance(spec, OwnData)
    yield tried("images", lambda: _images(load_data(spec)))
    yield tried("conditions", lambda: _conditions(load_data(spec)))
    yield tried("identity", lambda: _identity(spec))


def _images(data: Dataset) -> Finding:
    images = data.x_0(torch.arange(min(len(data), 1000)))
    low, high = images.min().item(), images.max().item()
    seen = f"{len(data)} of {'x'.join(map(str, images.shape[1:]))}, from {low:.3g} to {high:.3g}"
    fine = images.ndim == 4 and len(data) > 1 and bool(images.isfinite().all())
    fine &= low >= -1 and high <= 1 and low < high if data.decoder is None else True
    return expected("images", fine, seen + ("" if fine else "; they must be several, finite, different, in [-1, 1]"))


def _conditions(data: Dataset) -> Finding:
    wrong = [name for name, values in data.conditions.items() if len(values) != len(data) or name not in data.null]
    if wrong:
        return expected("conditions", False, f"{wrong[0]} must have one for each image, and a null")
    return expected("conditions", True, ", ".join(data.conditions) or "none")


def _identity(spec: OwnData) -> Finding:
    """Which images these are, asked twice of sources that are made anew."""
    one, other = (json.dumps(fresh_identity(spec), sort_keys=True) for _ in range(2))
    return expected("identity", one == other, f"{one[:60]} twice" if one == other else f"{one[:60]}, then {other[:60]}")


def check_extractor(path: str, size: int, weights: str | None) -> Iterator[Finding]:
    """Of a feature extractor, at images of size x size."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (_NUM_IMAGES, 3, size, size), generator=generator, dtype=torch.uint8)

    def features(batch_size: int) -> torch.Tensor:
        return image_features(make_extractor(path, weights_path=weights), images, batch_size).features

    def shapes() -> Finding:
        found = features(_NUM_IMAGES)
        spread = found.std(0).max().item()
        seen = f"features {tuple(found.shape)} of images {tuple(images.shape)}, spread {spread:.3g}"
        return expected("features", found.ndim == 2 and bool(found.isfinite().all()) and spread > 0, seen)

    def same() -> Finding:
        one, other = features(_NUM_IMAGES), features(5)
        error = float((one - other).norm() / one.norm().clamp(min=1e-30))
        return expected("made again, in other batches", error <= _TOLERANCE, f"relative difference {error:.1g}")

    yield tried("features", shapes)
    yield tried("made again, in other batches", same)


def check_family(path: str, config: Mapping[str, Any], shape: DataShape) -> Iterator[Finding]:
    """Of a model family: a model of that config, for data of that shape."""
    spec = ModelSpec(name="checked", model_class=path, config=config)

    def output() -> Finding:
        model = build_model(spec, shape, seed=0).eval()
        with torch.no_grad():
            x_t, time, condition = example_inputs(shape, 2, torch.device("cpu"), torch.float32)
            found = predict(model, x_t, time, condition)
        channels, *size = shape.image
        wanted = [(2, channels, *size), (2, 2 * channels, *size)]
        return expected("output", tuple(found.shape) in wanted, f"{tuple(found.shape)} of {tuple(x_t.shape)}")

    def saved() -> Finding:
        model = build_model(spec, shape, seed=0)
        with tempfile.TemporaryDirectory() as folder:
            save_model(model, Path(folder) / "model", "facts.json", {}, PIXEL)
            again = load_model(Path(folder) / "model")
        same = weights_digest(model) == weights_digest(again)
        return expected("saved and loaded", same, "the same weights" if same else "other weights")

    yield tried("size", lambda: "{0.params:,} parameters, {0.macs:,} MACs".format(count(spec, shape)))
    yield tried("output", output)
    yield tried("saved and loaded", saved)


def check_sampler(path: str) -> Iterator[Finding]:
    """Of a scheduler of diffusers as evaluation.sampler: from noise, with a model that says there is none."""

    def sampled() -> Finding:
        sampler = PIXEL.sampler(path, _STEPS)
        x = torch.randn((2, 1, 8, 8), generator=torch.Generator().manual_seed(0))
        for timestep in sampler.timesteps:
            x = sampler.step(torch.zeros_like(x), timestep, x).prev_sample
        return expected("steps", bool(x.isfinite().all()), f"{len(sampler.timesteps)} for sampler_steps={_STEPS}")

    yield tried("steps", sampled)
