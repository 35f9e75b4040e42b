"""Evaluates one model under the study's protocol: samples, metrics, and where it differs from its teacher."""

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from trainables.data import Dataset, DataSpec, load_data
from trainables.data.dataset import to_uint8
from trainables.data.streams import Batch
from trainables.evaluation.extractors import make_extractor
from trainables.evaluation.fidelity import (
    METRICS,
    Features,
    Statistics,
    compute_metrics,
    image_features,
    load_features,
    save_features,
)
from trainables.evaluation.real_images import NUM_SHOWN, save_grid, save_halves, shown_images
from trainables.evaluation.references import read_statistics, reference_images, resized
from trainables.evaluation.sample import sample_images
from trainables.families import predict, split_variance
from trainables.losses.lift_place import place_groups
from trainables.process import Process
from trainables.protocol import EvaluationSpec, is_statistics
from trainables.seeds import derived_generator
from trainables.specs import content_id

NUM_MAP_IMAGES = 64
NUM_MAP_TIMESTEPS = 10


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


class Evaluator:
    """Holds what all members of a study share: the extractor and the features of the reference images."""

    def __init__(
        self, spec: EvaluationSpec, data: DataSpec, process: Process, reference_folder: Path, device: torch.device
    ) -> None:
        """The features of the reference images are computed once and kept in reference_folder, with a grid of the
        images and their FID half against half.
        """
        self._spec, self._data, self._process, self._device = spec, load_data(data), process, device
        self._extractor = make_extractor(spec.feature_extractor, weights_path=spec.extractor_weights, device=device)
        self._reference = self._find_reference(data, reference_folder)
        # The last teacher and what it says of the error maps' images: it is asked once for all members of a pack.
        self._looked_up: tuple[nn.Module, list[tuple[Batch, torch.Tensor]]] | None = None

    def _find_reference(self, data: DataSpec, folder: Path) -> Features | Statistics:
        spec = self._spec
        if spec.reference is not None and is_statistics(spec.reference):
            return read_statistics(spec.reference)
        wanted = ("feature_extractor", "extractor_weights", "reference", "reference_split", "image_size")
        identity = spec.identity()
        key = {"data": data.identity(), "evaluation": {name: identity[name] for name in wanted}}
        path, picture, halves = (folder / f"{content_id(key)}{suffix}" for suffix in (".safetensors", ".png", ".json"))
        if not all(part.exists() for part in (path, picture, halves)):
            images = reference_images(spec, data)
            features = self._data_features(images)
            save_grid(picture, shown_images(images))
            save_halves(halves, key, features)
            save_features(path, features)
        return load_features(path)

    def with_num_images(self, num_images: int) -> "Evaluator":
        """The same protocol over another number of images and one noise seed: for a look on the way, never for what is
        reported.
        """
        other = copy(self)
        other._spec = replace(self._spec, num_images=num_images, noise_seeds=self._spec.noise_seeds[:1])
        return other

    def __call__(
        self, model: nn.Module, teacher: nn.Module | None = None, *, place_group_size: int | None = None
    ) -> Evaluation:
        """Samples from the model and measures it, once for every noise seed, and compares it with its teacher."""
        found, samples = [], None
        for noise_seed in self._spec.noise_seeds:
            images = self._sample(model, noise_seed)
            found.append(compute_metrics(self._features(images), self._reference, self._spec.neighbours))
            samples = images[:NUM_SHOWN].clone() if samples is None else samples
        assert samples is not None
        metrics = {name: float(np.mean([one[name] for one in found])) for name in METRICS}
        maps = {} if teacher is None else self._error_maps(model, teacher, place_group_size)
        return Evaluation(metrics, tuple(one["fid"] for one in found), samples, maps)

    def _sample(self, model: nn.Module, noise_seed: int) -> torch.Tensor:
        spec = self._spec
        return sample_images(
            model,
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

    @torch.inference_mode()
    def _error_maps(self, model: nn.Module, teacher: nn.Module, group_size: int | None) -> dict[str, np.ndarray]:
        if self._looked_up is None or self._looked_up[0] is not teacher:
            self._looked_up = (teacher, [(point, self._predict(teacher, point)) for point in self._map_points(teacher)])
        errors, groups = [], []
        for point, target in self._looked_up[1]:
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
        return split_variance(predict(model, point.x_t, time, point.condition), point.x_t.shape[1])[0]

    def _map_points(self, teacher: nn.Module) -> list[Batch]:
        """The first images of the data, noised to the timesteps of the maps."""
        indices = torch.arange(min(NUM_MAP_IMAGES, len(self._data)))
        x_0 = self._data.x_0(indices)
        noise = torch.randn(x_0.shape, generator=derived_generator(self._spec.noise_seeds[0], "error maps"))
        points = []
        for timestep in self._map_timesteps():
            t = timestep.expand(len(x_0))
            x_t, target = self._process.noised(x_0, noise, t), self._process.target(x_0, noise, t)
            points.append(Batch(x_0, x_t, t, target, self._data.condition(indices)))
        return [point.to(self._device, next(teacher.parameters()).dtype) for point in points]

    def _map_timesteps(self) -> torch.Tensor:
        """(T,), evenly spaced over the process."""
        step = self._process.num_timesteps / NUM_MAP_TIMESTEPS
        return ((torch.arange(NUM_MAP_TIMESTEPS) + 0.5) * step).to(torch.int64)

    def _data_features(self, data: Dataset) -> Features:
        batches = torch.split(torch.arange(len(data)), 1024)
        found = [self._features(to_uint8(data.reference(batch))) for batch in batches]
        return Features(torch.cat([one.features for one in found]), torch.cat([one.logits for one in found]))

    def _features(self, images: torch.Tensor) -> Features:
        return image_features(self._extractor, resized(images, self._spec.image_size), self._spec.batch_size)
