"""FID, Inception Score, KID, precision and recall of generated images, as torch-fidelity computes them.

torch-fidelity's own entry point reads image folders and remembers nothing, and holds all features and distances. Here
features are values of their own, what a reference gives is kept (`reference_file`), and FID's statistics and the
neighbourhoods of precision and recall are computed in parts.

Shapes: N images, M of the reference, D feature dimensions, L classes of the logits.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric
from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, isc_features_to_metric
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

from trainables.evaluation.halving import AtOnce
from trainables.evaluation.moments import Moments, Statistics, statistics_of
from trainables.evaluation.neighbours import neighbourhood_radii, share_within
from trainables.seeds import derived_generator

METRICS = ("fid", "is_mean", "kid", "precision_", "recall")


@dataclass(frozen=True, eq=False)
class Features:
    """What an extractor says of N images: `features` (N, D) for every metric but IS, which takes `logits` (N, L).

    L is 0 where an extractor knows no classes.
    """

    features: torch.Tensor
    logits: torch.Tensor

    @property
    def num_images(self) -> int:
        return len(self.features)

    @property
    def finite(self) -> bool:
        return bool(self.features.isfinite().all() and self.logits.isfinite().all())

    @classmethod
    def joined(cls, parts: Iterable["Features"]) -> "Features":
        found = list(parts)
        return cls(torch.cat([one.features for one in found]), torch.cat([one.logits for one in found]))


@dataclass(frozen=True, eq=False)
class Reference:
    """What generated images are measured against.

    statistics: of all images, for FID. features: (M, D) of at most so many of them as the protocol allows, for KID,
    precision and recall, with radii (M,) that reach so many neighbours.
    """

    statistics: Statistics
    features: torch.Tensor
    radii: torch.Tensor
    neighbours: int

    @property
    def num_images(self) -> int:
        return len(self.features)

    @property
    def finite(self) -> bool:
        return self.statistics.finite and bool(self.features.isfinite().all())


def reference_of(
    batches: Iterable[torch.Tensor],
    num_images: int,
    neighbours: int = 3,
    *,
    most: int = 50_000,
    device: torch.device | str = "cpu",
) -> Reference:
    """Of the features of num_images images, which come in batches (N, D) in order and are not held all at once.

    The features of `most` images drawn at random, always the same, are kept. Raises ValueError for as few images as
    neighbours.
    """
    if num_images <= neighbours:
        raise _too_few(f"{num_images} reference images", neighbours)
    order = torch.randperm(num_images, generator=derived_generator(0, "kept of the reference"))
    is_kept = torch.zeros(num_images, dtype=torch.bool)
    is_kept[order[:most]] = True
    moments, kept, start = Moments(), [], 0
    for batch in batches:
        moments.add(batch)
        kept.append(batch[is_kept[start : start + len(batch)]])
        start += len(batch)
    features = torch.cat(kept)
    return Reference(moments.statistics(), features, neighbourhood_radii(features, neighbours, device), neighbours)


def image_features(extractor: FeatureExtractorBase, images_NCHW: torch.Tensor, batch_size: int) -> Features:
    """Features, on the CPU, of uint8 images (N, C, H, W) with C = 1 (repeated to RGB) or 3.

    `extractor` comes from `evaluation.extractors.make_extractor`; the features keep its precision. `batch_size`
    bounds memory, and is halved where that is not enough. Raises ValueError for anything but such images.
    """
    if images_NCHW.dtype != torch.uint8 or images_NCHW.ndim != 4 or images_NCHW.shape[1] not in {1, 3}:
        raise ValueError(
            f"images must be uint8 (N, 1 or 3, H, W), but got {images_NCHW.dtype} {tuple(images_NCHW.shape)}"
        )
    device = next(extractor.parameters()).device
    feature_layer = extractor.get_default_feature_layer_for_metric("fid")
    logits_layer = extractor.get_default_feature_layer_for_metric("isc")

    def features_of(batch: torch.Tensor) -> Features:
        layers = extractor.convert_features_tuple_to_dict(extractor(batch.to(device).expand(-1, 3, -1, -1)))
        return Features(layers[feature_layer].cpu(), layers[logits_layer].cpu())

    with torch.no_grad():
        return AtOnce(batch_size)(
            lambda num: Features.joined(features_of(batch) for batch in torch.split(images_NCHW, num))
        )


def metric_settings(num_generated: int, num_reference: int) -> dict[str, object]:
    """torch-fidelity's keyword arguments for that many images; they follow from the counts, which every row records.

    At 50,000 images these are the customary settings (10 splits of the IS, 100 KID subsets of 1,000). With fewer images
    - the IS has one split per 5,000 images, at least one: small splits bias it downwards (Barratt and Sharma 2018);
    - KID, unbiased at every subset size (Binkowski et al. 2018), takes the largest subsets that fit, up to 1,000, and
      as many as draw each image about twice: 512 against 1,797 images are 8 subsets of 512.
    """
    subset_size = min(1000, num_generated, num_reference)
    num_subsets = math.ceil(2 * max(num_generated, num_reference) / subset_size)
    return {
        "isc_splits": max(1, min(10, num_generated // 5000)),
        "kid_subset_size": subset_size,
        "kid_subsets": min(100, num_subsets),
        "rng_seed": 2020,
        "verbose": False,
    }


def compute_metrics(
    generated: Features,
    reference: Reference | Statistics,
    neighbours: int = 3,
    *,
    device: torch.device | str = "cpu",
) -> dict[str, float]:
    """`fid`, `is_mean`, `kid`, `precision_` and `recall` of the generated images against the reference images.

    FID (Heusel et al. 2017) is the squared Frechet distance of two Gaussians fitted to the features; it is biased
    upwards with few images, so compare only equal counts. IS (Salimans et al. 2016) is of the generated images alone.
    KID can be slightly below 0. Precision is the share of generated images inside the reference's neighbourhoods,
    recall the share of reference images inside those of the generated ones, each as wide as `neighbours` neighbours
    (of a reference: its own). Distances are computed on `device`. Against statistics, what needs the reference's own
    features is NaN, as is IS without logits; everything is where a feature is not finite. Raises ValueError for as few
    generated images as neighbours.
    """
    if isinstance(reference, Reference):
        neighbours = reference.neighbours
    if generated.num_images <= neighbours:
        raise _too_few(f"{generated.num_images} images", neighbours)
    if not (generated.finite and reference.finite):
        return dict.fromkeys(METRICS, math.nan)
    theirs = reference.statistics if isinstance(reference, Reference) else reference
    metrics = dict.fromkeys(METRICS, math.nan) | {"fid": _fid(statistics_of(generated.features), theirs)}
    if generated.logits.shape[1]:
        splits = metric_settings(generated.num_images, generated.num_images)["isc_splits"]
        inception_score = isc_features_to_metric(generated.logits, splits=splits)
        metrics["is_mean"] = float(inception_score[KEY_METRIC_ISC_MEAN])
    if isinstance(reference, Statistics):
        return metrics
    settings = metric_settings(generated.num_images, reference.num_images)
    kid = kid_features_to_metric(generated.features, reference.features, **settings)
    radii = neighbourhood_radii(generated.features, neighbours, device)
    return metrics | {
        "kid": float(kid[KEY_METRIC_KID_MEAN]),
        "precision_": share_within(generated.features, reference.features, reference.radii, device),
        "recall": share_within(reference.features, generated.features, radii, device),
    }


def frechet_distance(first: torch.Tensor, second: torch.Tensor) -> float:
    """FID between features (N, D) and (M, D), finite and at least two of each."""
    return _fid(statistics_of(first), statistics_of(second))


def _fid(first: Statistics, second: Statistics) -> float:
    one, other = ({"mu": side.mu, "sigma": side.sigma} for side in (first, second))
    return float(fid_statistics_to_metric(one, other, verbose=False)[KEY_METRIC_FID])


def _too_few(got: str, neighbours: int) -> ValueError:
    at_least = f"at least {neighbours + 1} (evaluation.neighbours is {neighbours})"
    return ValueError(f"evaluation.num_images must be {at_least}, but got {got}")
