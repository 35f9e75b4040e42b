"""Evaluates one model under the study's protocol: samples, metrics, and where it differs from its teacher."""

import hashlib
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from trainables.data import DataSpec, load_data
from trainables.data.dataset import to_uint8
from trainables.data.streams import Batch
from trainables.evaluation.extractors import make_extractor
from trainables.evaluation.fidelity import Features, compute_metrics, image_features, load_features, save_features
from trainables.evaluation.sample import sample_images
from trainables.families import predict, split_variance
from trainables.losses.lift_place import place_groups
from trainables.process import Process
from trainables.seeds import derived_generator
from trainables.specs import EvaluationSpec, content_id

NUM_KEPT_SAMPLES = 64
NUM_MAP_IMAGES = 64
NUM_MAP_TIMESTEPS = 10


@dataclass(frozen=True)
class Evaluation:
    """metrics: fid, is_mean, kid, precision_, recall. samples: the first images, uint8 (n, C, H, W). error_maps: arrays
    `timesteps (T,)`, `squared_error (T, H, W)`, `example (H, W)` and, for PLACE, `place_group (T, H, W)`; empty without
    a teacher.
    """

    metrics: Mapping[str, float]
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
        """The features of the data set are computed once and kept in reference_folder."""
        self._spec, self._data, self._process, self._device = spec, load_data(data), process, device
        self._extractor = make_extractor(spec.feature_extractor, weights_path=spec.extractor_weights, device=device)
        key = {"data": data.identity(), "split": spec.reference_split, "extractor": spec.feature_extractor}
        if spec.extractor_weights is not None:
            with Path(spec.extractor_weights).open("rb") as weights:
                key["weights"] = hashlib.file_digest(weights, "sha256").hexdigest()
        path = reference_folder / f"{content_id(key)}.safetensors"
        if not path.exists():
            save_features(path, self._data_features())
        self._reference = load_features(path)
        # The last teacher and what it says of the error maps' images: it is asked once for all members of a pack.
        self._looked_up: tuple[nn.Module, list[tuple[Batch, torch.Tensor]]] | None = None

    def with_num_images(self, num_images: int) -> "Evaluator":
        """The same protocol over another number of images: for a look on the way, never for what is reported."""
        other = copy(self)
        other._spec = replace(self._spec, num_images=num_images)
        return other

    def __call__(
        self, model: nn.Module, teacher: nn.Module | None = None, *, place_group_size: int | None = None
    ) -> Evaluation:
        """Samples from the model, measures it, and compares it with its teacher."""
        samples = sample_images(
            model,
            self._data,
            self._process,
            num_images=self._spec.num_images,
            sampler=self._spec.sampler,
            sampler_steps=self._spec.sampler_steps,
            noise_seed=self._spec.noise_seed,
            guidance=self._spec.guidance,
            batch_size=self._spec.batch_size,
            device=self._device,
        )
        metrics = compute_metrics(self._features(samples), self._reference)
        maps = {} if teacher is None else self._error_maps(model, teacher, place_group_size)
        return Evaluation(metrics, samples[:NUM_KEPT_SAMPLES], maps)

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
        noise = torch.randn(x_0.shape, generator=derived_generator(self._spec.noise_seed, "error maps"))
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

    def _data_features(self) -> Features:
        batches = torch.split(torch.arange(len(self._data)), 1024)
        found = [self._features(to_uint8(self._data.reference(batch))) for batch in batches]
        return Features(torch.cat([one.features for one in found]), torch.cat([one.logits for one in found]))

    def _features(self, images: torch.Tensor) -> Features:
        return image_features(self._extractor, images, self._spec.batch_size)
