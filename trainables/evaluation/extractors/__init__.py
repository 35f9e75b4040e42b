"""Feature extractors by the name that a study's configuration and every row of its records give them.

`digits-cnn-v1` and `mnist-cnn-v1` are shipped; `inception` is torch-fidelity's own `inception-v3-compat`;
`torchvision/<architecture>` takes a file of weights; `own-v1` is trained by the study (`study_extractor`). Which layers
feed FID, KID, precision and recall, and which the Inception Score, is the extractor's own answer:
`get_default_feature_layer_for_metric`.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch_fidelity.feature_extractor_base import FeatureExtractorBase

from trainables import plugins
from trainables.evaluation.extractors import digits_cnn, inception, mnist_cnn, own_cnn, torchvision_models
from trainables.evaluation.extractors.own_extractor import make_own_extractor
from trainables.evaluation.extractors.shipped_cnn import ShippedCNN

SHIPPED = (digits_cnn.VERSION, mnist_cnn.VERSION)
EXTRACTORS: dict[str, Callable[[Path | None], FeatureExtractorBase]] = {
    **{version.name: partial(ShippedCNN, version) for version in SHIPPED},
    inception.NAME: inception.make_inception,
}
# The side of the images that an extractor reads, where it does not resize them.
IMAGE_SIDES = {version.name: version.side for version in SHIPPED}


def make_extractor(
    name: str, *, weights_path: str | Path | None = None, device: torch.device | str | None = None
) -> FeatureExtractorBase:
    """The extractor of that name on `device` (default: the CPU), frozen, in evaluation mode.

    `weights_path` is the configuration's evaluation.extractor_weights: needed by torchvision's models, and by
    `inception` where there is no network; left at None otherwise. Raises ValueError for an unknown name and for weights
    that are missing or of something else.
    """
    weights = Path(weights_path) if weights_path is not None else None
    if name.startswith(torchvision_models.PREFIX):
        extractor: FeatureExtractorBase = torchvision_models.make_torchvision(name, weights)
    elif name in EXTRACTORS:
        extractor = EXTRACTORS[name](weights)
    elif name == own_cnn.NAME:
        raise ValueError(f"evaluation.feature_extractor={name} is trained by a study on its own images")
    else:
        allowed = [*EXTRACTORS, own_cnn.NAME, f"{torchvision_models.PREFIX}<architecture>"]
        path = plugins.path_of("evaluation.feature_extractor", "feature_extractors", name, allowed)
        extractor = make_own_extractor(path, weights)
    return extractor.requires_grad_(False).eval().to(device or "cpu")
