"""FID, Inception Score, KID, precision and recall of generated images, all of them computed by torch-fidelity.

torch-fidelity's own entry point reads image folders and remembers nothing. Here the features are a value of their own:
those of the reference images are computed once per study and kept in a file.

Shapes: N images, D feature dimensions, L classes of the logits.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, isc_features_to_metric
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric
from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

from storage import SEAL, cached, new_file, seal
from trainables.models.digest import tensors_digest

METRICS = ("fid", "is_mean", "kid", "precision_", "recall")


@dataclass(frozen=True, eq=False)
class Features:
    """What an extractor says of N images: `features` (N, D) for every metric but IS, which takes `logits` (N, L)."""

    features: torch.Tensor
    logits: torch.Tensor

    @property
    def num_images(self) -> int:
        return len(self.features)

    @property
    def finite(self) -> bool:
        return bool(self.features.isfinite().all() and self.logits.isfinite().all())


@dataclass(frozen=True, eq=False)
class Statistics:
    """Mean `mu` (D,) and covariance `sigma` (D, D), float64, of features that are not at hand."""

    mu: np.ndarray
    sigma: np.ndarray


def image_features(extractor: FeatureExtractorBase, images_NCHW: torch.Tensor, batch_size: int) -> Features:
    """Features, on the CPU, of uint8 images (N, C, H, W) with C = 1 (repeated to RGB) or 3.

    `extractor` comes from `evaluation.extractors.make_extractor`; the features keep its precision. `batch_size`
    bounds memory. Raises ValueError for anything but such images.
    """
    if images_NCHW.dtype != torch.uint8 or images_NCHW.ndim != 4 or images_NCHW.shape[1] not in {1, 3}:
        raise ValueError(
            f"images must be uint8 (N, 1 or 3, H, W), but got {images_NCHW.dtype} {tuple(images_NCHW.shape)}"
        )
    device = next(extractor.parameters()).device
    feature_layer = extractor.get_default_feature_layer_for_metric("fid")
    logits_layer = extractor.get_default_feature_layer_for_metric("isc")
    features, logits = [], []
    with torch.no_grad():
        for batch in torch.split(images_NCHW, batch_size):
            layers = extractor.convert_features_tuple_to_dict(extractor(batch.to(device).expand(-1, 3, -1, -1)))
            features.append(layers[feature_layer].cpu())
            logits.append(layers[logits_layer].cpu())
    return Features(torch.cat(features), torch.cat(logits))


def metric_settings(num_generated: int, num_reference: int, neighbours: int) -> dict[str, object]:
    """torch-fidelity's keyword arguments for that many images; they follow from the counts, which every row records.

    At 50,000 images these are the customary settings (10 splits of the IS, 100 KID subsets of 1,000). With fewer images
    - the IS has one split per 5,000 images, at least one: small splits bias it downwards (Barratt and Sharma 2018);
    - KID, unbiased at every subset size (Binkowski et al. 2018), takes the largest subsets that fit, up to 1,000, and
      as many as draw each image about twice: 512 against 1,797 images are 8 subsets of 512.
    Precision and recall reach to so many neighbours (Kynkaanniemi et al. 2019: 3).
    """
    subset_size = min(1000, num_generated, num_reference)
    num_subsets = math.ceil(2 * max(num_generated, num_reference) / subset_size)
    return {
        "isc_splits": max(1, min(10, num_generated // 5000)),
        "kid_subset_size": subset_size,
        "kid_subsets": min(100, num_subsets),
        "prc_neighborhood": neighbours,
        "save_cpu_ram": True,
        "rng_seed": 2020,
        "verbose": False,
    }


def compute_metrics(generated: Features, reference: Features | Statistics, neighbours: int = 3) -> dict[str, float]:
    """`fid`, `is_mean`, `kid`, `precision_` and `recall` of the generated images against the reference images.

    FID (Heusel et al. 2017) is the squared Frechet distance of two Gaussians fitted to the features; it is biased
    upwards with few images, so compare only equal counts. IS (Salimans et al. 2016) is of the generated images alone.
    KID can be slightly below 0. Precision is the share of generated images inside the reference's neighbourhoods,
    recall the share of reference images inside those of the generated ones, each as wide as `neighbours` neighbours.
    Against statistics, what needs the reference's own features is NaN; everything is where a feature is not finite.
    Raises ValueError for as few images as neighbours on either side.
    """
    sides = [generated] if isinstance(reference, Statistics) else [generated, reference]
    if min(side.num_images for side in sides) <= neighbours:
        raise ValueError(
            f"evaluation.num_images must be at least {neighbours + 1} (evaluation.neighbours is {neighbours}), but got"
            f" {' against '.join(str(side.num_images) for side in sides)} images"
        )
    if not all(side.finite for side in sides):
        return dict.fromkeys(METRICS, math.nan)
    statistics = fid_features_to_statistics(generated.features)
    splits = metric_settings(generated.num_images, generated.num_images, neighbours)["isc_splits"]
    inception_score = isc_features_to_metric(generated.logits, splits=splits)
    metrics = dict.fromkeys(METRICS, math.nan) | {"is_mean": float(inception_score[KEY_METRIC_ISC_MEAN])}
    if isinstance(reference, Statistics):
        theirs = {"mu": reference.mu, "sigma": reference.sigma}
        return metrics | {"fid": float(fid_statistics_to_metric(statistics, theirs, verbose=False)[KEY_METRIC_FID])}
    settings = metric_settings(generated.num_images, reference.num_images, neighbours)
    fid = fid_statistics_to_metric(statistics, fid_features_to_statistics(reference.features), verbose=False)
    kid = kid_features_to_metric(generated.features, reference.features, **settings)
    prc = prc_features_to_metric(generated.features, reference.features, **settings)
    return metrics | {
        "fid": float(fid[KEY_METRIC_FID]),
        "kid": float(kid[KEY_METRIC_KID_MEAN]),
        "precision_": float(prc[KEY_METRIC_PRECISION]),
        "recall": float(prc[KEY_METRIC_RECALL]),
    }


def frechet_distance(first: torch.Tensor, second: torch.Tensor) -> float:
    """FID between features (N, D) and (M, D), finite and at least two of each."""
    statistics = [fid_features_to_statistics(features) for features in (first, second)]
    return float(fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID])


def save_features(path: Path, features: Features) -> None:
    """Writes a safetensors file, whole or not at all."""
    tensors = {"features": features.features.contiguous(), "logits": features.logits.contiguous()}
    with new_file(path) as file:
        file.write(safetensors.torch.save(tensors, {SEAL: _seal(path, features)}))


def load_features(path: Path) -> Features:
    """What `save_features` wrote. Raises ValueError, naming the file, where it is anything else."""
    try:
        with safetensors.safe_open(cached(path), framework="pt") as file:
            found = Features(file.get_tensor("features"), file.get_tensor("logits"))
            expected = (file.metadata() or {}).get(SEAL)
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} does not hold features: {error}") from error
    if expected != _seal(path, found):
        raise ValueError(f"{path} is damaged: its features are not those that were saved")
    return found


def _seal(path: Path, features: Features) -> str:
    return seal(path.name, tensors_digest({"features": features.features, "logits": features.logits}).encode())
