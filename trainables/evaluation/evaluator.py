"""Evaluates one model under the study's protocol: samples, metrics, and where it differs from its teacher."""

import math
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from storage import one_maker
from trainables.arithmetic import FLOAT32, matrix_products
from trainables.data import Dataset, DataSpec, load_data
from trainables.data.dataset import to_uint8
from trainables.data.streams import Batch
from trainables.evaluation.fidelity import METRICS, Features, Reference, compute_metrics, image_features, reference_of
from trainables.evaluation.halving import AtOnce
from trainables.evaluation.micro_batches import decode_batch_size
from trainables.evaluation.moments import Statistics
from trainables.evaluation.real_images import NUM_SHOWN, save_grid, save_halves, shown_images
from trainables.evaluation.reference_file import load_reference, save_reference
from trainables.evaluation.references import read_statistics, reference_images, resized
from trainables.evaluation.sample import sample_together
from trainables.evaluation.study_extractor import require_varied, study_extractor
from trainables.families import predict, split_variance
from trainables.losses.lift_place import place_groups
from trainables.process import Process
from trainables.protocol import EvaluationSpec, is_statistics
from trainables.seeds import derived_generator
from trainables.specs import content_id

NUM_MAP_IMAGES = 64
NUM_MAP_TIMESTEPS = 10
_IMAGES_HELD = 2**18  # of all models that are sampled as one; their Inception features are 2 GB
# What of the protocol's identity says which features a reference gives.
_OF_REFERENCE = (
    "feature_extractor",
    "extractor_weights",
    "reference",
    "reference_split",
    "image_size",
    "reference_images",
)


@dataclass(frozen=True)
class Evaluation:
    """metrics: fid, is_mean, kid, precision_, recall, each the mean over the noise seeds; fid_by_noise_seed in their
    order. Of the first noise seed: samples: the first images, uint8 (n, C, H, W). error_maps: arrays `timesteps (T,)`,
    `squared_error (T, H, W)`, `example (H, W)` and, for PLACE, `place_group (T, H, W)`; empty without a teacher.
    """

    metrics: Mapping[str, float]
    fid_by_noise_seed: tuple[float, ...]
    samples: torch.Tensor
    error_maps: Mapping[str, np.ndarray]

    @property
    def student_teacher_distance(self) -> float | None:
        """Mean squared difference of the outputs per element, over images and timesteps."""
        return float(self.error_maps["squared_error"].mean()) if self.error_maps else None


@dataclass(frozen=True)
class Sampled:
    """The features of all images of a model and a noise seed; shown: the first NUM_SHOWN images, uint8 (n, C, H, W)."""

    features: Features
    shown: torch.Tensor


class Evaluator:
    """Holds what all members of a study share: the extractor and the features of the reference images."""

    @matrix_products(FLOAT32)
    def __init__(
        self, spec: EvaluationSpec, data: DataSpec, process: Process, reference_folder: Path, device: torch.device
    ) -> None:
        """The features of the reference images are computed once and kept in reference_folder, with a grid of the
        images and their FID half against half.
        """
        self._spec, self._data, self._process, self._device = spec, load_data(data), process, device
        self._extractor = study_extractor(spec, data, reference_folder, device)
        self._reference = self._find_reference(data, reference_folder)
        self._mapped = AtOnce(NUM_MAP_IMAGES)
        # The last teacher that was asked, and what it said.
        self._looked_up: tuple[nn.Module, list[tuple[Batch, torch.Tensor]]] | None = None

    def _find_reference(self, data: DataSpec, folder: Path) -> Reference | Statistics:
        spec = self._spec
        if spec.reference is not None and is_statistics(spec.reference):
            return read_statistics(spec.reference)
        identity = spec.identity()
        key = {
            "data": data.identity(),
            "evaluation": {name: identity[name] for name in _OF_REFERENCE if name in identity},
        }
        path, picture, halves = (folder / f"{content_id(key)}{suffix}" for suffix in (".safetensors", ".png", ".json"))

        def is_made() -> bool:
            others = picture.exists() and halves.exists()
            return others and load_reference(path, spec.neighbours) is not None

        with one_maker(path, is_made) as missing:
            if missing:
                images = reference_images(spec, data)
                made = self._reference_of(images)
                require_varied(made.features, spec)
                save_grid(picture, shown_images(images))
                save_halves(halves, key, made.features)
                save_reference(path, made)
        found = load_reference(path, spec.neighbours)
        assert found is not None
        return found

    def with_num_images(self, num_images: int) -> "Evaluator":
        """The same protocol over another number of images and one noise seed: for a look on the way, never for what is
        reported.
        """
        other = copy(self)
        other._spec = replace(self._spec, num_images=num_images, noise_seeds=self._spec.noise_seeds[:1])
        return other

    @matrix_products(FLOAT32)
    def __call__(
        self,
        model: nn.Module,
        teacher: nn.Module | None = None,
        *,
        place_group_size: int | None = None,
        sampled: Sequence[Sampled] | None = None,
    ) -> Evaluation:
        """Samples from the model and measures it, once for every noise seed, and compares it with its teacher.

        sampled: of the model, where `sample` has drawn them already.
        """
        drawn = self.sample([model])[0] if sampled is None else sampled
        found = [
            compute_metrics(one.features, self._reference, self._spec.neighbours, device=self._device) for one in drawn
        ]
        metrics = {name: float(np.mean([one[name] for one in found])) for name in METRICS}
        maps = {} if teacher is None else self._error_maps(model, teacher, place_group_size)
        return Evaluation(metrics, tuple(one["fid"] for one in found), drawn[0].shown, maps)

    @property
    def num_together(self) -> int:
        """How many models may be sampled as one: the features of all their images are held until they are measured."""
        return max(1, _IMAGES_HELD // (self._spec.num_images * len(self._spec.noise_seeds)))

    @matrix_products(FLOAT32)
    def sample(self, models: Sequence[nn.Module]) -> list[list[Sampled]]:
        """Of each of the models, which have one architecture and sample as one: what every noise seed gives."""
        by_seed = [self._sampled(models, noise_seed) for noise_seed in self._spec.noise_seeds]
        return [list(of_a_model) for of_a_model in zip(*by_seed, strict=True)]

    def _sampled(self, models: Sequence[nn.Module], noise_seed: int) -> list[Sampled]:
        spec = self._spec
        features: list[list[Features]] = [[] for _ in models]
        shown: list[list[torch.Tensor]] = [[] for _ in models]
        batches = sample_together(
            models,
            self._data,
            self._process,
            num_images=spec.num_images,
            sampler=spec.sampler,
            sampler_steps=spec.sampler_steps,
            spacing=spec.spacing,
            noise_seed=noise_seed,
            guidance=spec.guidance,
            guidance_channels=spec.guidance_channels,
            batch_size=spec.batch_size,
            device=self._device,
        )
        for batch in batches:
            for images, mine, kept in zip(batch, features, shown, strict=True):
                mine.append(self._features(images))
                if sum(len(some) for some in kept) < NUM_SHOWN:
                    kept.append(images)
        joined = (torch.cat(kept)[:NUM_SHOWN].clone() for kept in shown)
        return [Sampled(Features.joined(mine), some) for mine, some in zip(features, joined, strict=True)]

    @torch.inference_mode()
    def ask(self, teacher: nn.Module) -> list[tuple[Batch, torch.Tensor]]:
        """What the teacher says (n, C, H, W) of the error maps' images; it is asked once for all members of a pack."""
        if self._looked_up is None or self._looked_up[0] is not teacher:
            self._looked_up = (teacher, [(point, self._predict(teacher, point)) for point in self._map_points(teacher)])
        return self._looked_up[1]

    @torch.inference_mode()
    def _error_maps(self, model: nn.Module, teacher: nn.Module, group_size: int | None) -> dict[str, np.ndarray]:
        errors, groups = [], []
        for point, target in self.ask(teacher):
            student = self._predict(model, point)
            errors.append((student - target).square().mean(dim=(0, 1)))
            if group_size is not None:
                groups.append(place_groups(student[:1], target[:1], group_size)[0, 0])
        maps = {
            "timesteps": self._map_timesteps().numpy(),
            "squared_error": torch.stack(errors).float().cpu().numpy(),
            "example": self._data.x_0(torch.arange(1))[0, 0].numpy(),
        }
        return maps | ({"place_group": torch.stack(groups).cpu().numpy().astype(np.int16)} if groups else {})

    def _predict(self, model: nn.Module, point: Batch) -> torch.Tensor:
        time = self._process.model_time(point.t)

        def run(rows: torch.Tensor) -> torch.Tensor:
            condition = {name: values[rows] for name, values in point.condition.items()}
            return split_variance(predict(model, point.x_t[rows], time[rows], condition), point.x_t.shape[1])[0]

        return self._mapped.over(torch.arange(len(point.x_t), device=self._device), run)

    def _map_points(self, teacher: nn.Module) -> list[Batch]:
        """The first images of the data, noised to the timesteps of the maps."""
        indices = torch.arange(min(NUM_MAP_IMAGES, len(self._data)))
        x_0 = self._data.x_0(indices)
        noise = torch.randn(x_0.shape, generator=derived_generator(self._spec.noise_seeds[0], "error maps"))
        condition = {name: values.to(self._device) for name, values in self._data.condition(indices).items()}
        points = []
        for timestep in self._map_timesteps():
            t = timestep.expand(len(x_0))
            x_t, target = self._process.noised(x_0, noise, t), self._process.target(x_0, noise, t)
            points.append(Batch(x_0, x_t, t, target, condition))
        return [point.to(self._device, next(teacher.parameters()).dtype) for point in points]

    def _map_timesteps(self) -> torch.Tensor:
        """(T,), evenly spaced over the process."""
        step = self._process.num_timesteps / NUM_MAP_TIMESTEPS
        return ((torch.arange(NUM_MAP_TIMESTEPS) + 0.5) * step).to(torch.int64)

    def _reference_of(self, images: Dataset) -> Reference:
        spec, read = self._spec, AtOnce(_reading_batch(images))
        indices = torch.arange(len(images))
        parts = torch.split(indices, read.num)
        features = (self._features(read.over(part, partial(self._read, images))).features for part in parts)
        return reference_of(features, len(images), spec.neighbours, most=spec.reference_images, device=self._device)

    def _read(self, images: Dataset, indices: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return to_uint8(images.reference(indices, self._device)).cpu()

    def _features(self, images: torch.Tensor) -> Features:
        return image_features(self._extractor, resized(images, self._spec.image_size), self._spec.batch_size)


def _reading_batch(images: Dataset) -> int:
    """How many reference images are read, or decoded, at once."""
    if images.references is None and images.decoder is not None:
        return decode_batch_size(images.shape.image)
    shape = (images.references or images).shape.image
    return max(1, min(1024, 2**24 // math.prod(shape)))
