"""Evaluates one model under the study's protocol: samples, metrics, and where it differs from its teacher."""

import hashlib
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from trainables.data import to_uint8
from trainables.diffusion import NUM_TIMESTEPS, noise_schedule
from trainables.extractors import make_extractor
from trainables.losses.lift_place import place_groups
from trainables.metrics import compute_metrics, image_features, load_features, save_features
from trainables.sample import sample_images
from trainables.seeds import derived_generator
from trainables.specs import EvaluationSpec, content_id

NUM_KEPT_SAMPLES = 64
NUM_MAP_IMAGES = 64
MAP_TIMESTEPS = tuple(range(50, NUM_TIMESTEPS, 100))


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
        self, spec: EvaluationSpec, data: str, images: torch.Tensor, reference_folder: Path, device: torch.device
    ) -> None:
        """images: the data set (N, C, H, W) in [-1, 1]. Its features are computed once and kept in reference_folder."""
        self._spec, self._images, self._device = spec, images, device
        self._extractor = make_extractor(spec.feature_extractor, weights_path=spec.extractor_weights, device=device)
        key = {"data": data, "split": spec.reference_split, "extractor": spec.feature_extractor}
        if spec.extractor_weights is not None:
            with Path(spec.extractor_weights).open("rb") as weights:
                key["weights"] = hashlib.file_digest(weights, "sha256").hexdigest()
        path = reference_folder / f"{content_id(key)}.safetensors"
        if not path.exists():
            save_features(path, image_features(self._extractor, to_uint8(images), spec.batch_size))
        self._reference = load_features(path)
        # The last teacher and what it says of the error maps' images: it is asked once for all members of a pack.
        self._looked_up: tuple[nn.Module, list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]] | None = None

    def with_num_images(self, num_images: int) -> "Evaluator":
        """The same protocol over another number of images: for a look on the way, never for what is reported."""
        other = copy(self)
        other._spec = replace(self._spec, num_images=num_images)
        return other

    def __call__(
        self, model: nn.Module, teacher: nn.Module | None = None, *, place_group_size: int | None = None
    ) -> Evaluation:
        """Samples from the model (called as model(x_t, t).sample), measures it, and compares it with its teacher."""
        _, channels, height, width = self._images.shape
        samples = sample_images(
            model,
            num_images=self._spec.num_images,
            image_shape=(channels, height, width),
            sampler=self._spec.sampler,
            sampler_steps=self._spec.sampler_steps,
            noise_seed=self._spec.noise_seed,
            batch_size=self._spec.batch_size,
            device=self._device,
        )
        metrics = compute_metrics(image_features(self._extractor, samples, self._spec.batch_size), self._reference)
        maps = {} if teacher is None else self._error_maps(model, teacher, place_group_size)
        return Evaluation(metrics, samples[:NUM_KEPT_SAMPLES], maps)

    @torch.inference_mode()
    def _error_maps(self, model: nn.Module, teacher: nn.Module, group_size: int | None) -> dict[str, np.ndarray]:
        if self._looked_up is None or self._looked_up[0] is not teacher:
            self._looked_up = (teacher, self._map_points(teacher))
        errors, groups = [], []
        for x_t, t, target in self._looked_up[1]:
            student = model(x_t, t, return_dict=False)[0]
            errors.append((student - target).square().mean(dim=(0, 1)))
            if group_size is not None:
                groups.append(place_groups(student[:1], target[:1], group_size)[0, 0])
        maps = {
            "timesteps": np.array(MAP_TIMESTEPS, dtype=np.int64),
            "squared_error": torch.stack(errors).float().cpu().numpy(),
            "example": self._images[0, 0].numpy(),
        }
        return maps | ({"place_group": torch.stack(groups).cpu().numpy().astype(np.int16)} if groups else {})

    def _map_points(self, teacher: nn.Module) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Noisy images (N, C, H, W), timesteps (N,) and the teacher's outputs, by MAP_TIMESTEPS."""
        images = self._images[:NUM_MAP_IMAGES]
        noise = torch.randn(images.shape, generator=derived_generator(self._spec.noise_seed, "error maps"))
        dtype = next(teacher.parameters()).dtype
        points = []
        for timestep in MAP_TIMESTEPS:
            t = torch.full((len(images),), timestep)
            x_t, t = noise_schedule().add_noise(images, noise, t).to(self._device, dtype), t.to(self._device)
            points.append((x_t, t, teacher(x_t, t, return_dict=False)[0]))
        return points
