"""What generated images are measured against: the data's images, those of a folder, or saved statistics."""

import zipfile

import numpy as np
import torch
from torch_fidelity.feature_extractor_base import FeatureExtractorBase

from trainables.data import Dataset, DataSpec, load_data
from trainables.data.folder import Folder
from trainables.evaluation.moments import Statistics
from trainables.protocol import EvaluationSpec, is_statistics


def reference_images(spec: EvaluationSpec, data: DataSpec) -> Dataset:
    """The images that features are taken of. Raises ValueError for a folder whose images have no size to be read in."""
    if spec.reference is None:
        return load_data(data)
    if spec.image_size is None:
        raise ValueError(
            f"evaluation.image_size must be given for a folder of reference images ({spec.reference}) but got None"
        )
    return load_data(Folder(name="reference", path=spec.reference, size=spec.image_size))


def read_statistics(path: str) -> Statistics:
    """The mu (D,) and sigma (D, D) of an .npz file, as FID tools save them; nothing is unpickled.

    Raises ValueError naming evaluation.reference where the file holds anything else.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            mu, sigma = (np.asarray(file[name], dtype=np.float64) for name in ("mu", "sigma"))
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"evaluation.reference={path} must hold arrays mu and sigma: {error}") from error
    if mu.ndim != 1 or sigma.shape != (len(mu), len(mu)) or not (np.isfinite(mu).all() and np.isfinite(sigma).all()):
        raise ValueError(
            f"evaluation.reference={path} must hold finite numbers mu (D,) and sigma (D, D) but got {mu.shape} and"
            f" {sigma.shape}"
        )
    return Statistics(mu, sigma)


def check_reference(spec: EvaluationSpec, data: DataSpec, extractor: FeatureExtractorBase) -> None:
    """Raises ValueError for a reference that is not there or not of this extractor."""
    if spec.reference is None:
        return
    if not is_statistics(spec.reference):
        reference_images(spec, data)
        return
    size = int(extractor.get_default_feature_layer_for_metric("fid"))
    if len(read_statistics(spec.reference).mu) != size:
        raise ValueError(
            f"evaluation.reference={spec.reference} must be of the {size} features of {spec.feature_extractor} but is"
            f" of {len(read_statistics(spec.reference).mu)}"
        )


def resized(images: torch.Tensor, size: int | None) -> torch.Tensor:
    """uint8 images (N, C, H, W) at size x size, bicubic with antialiasing; None: as they are."""
    if size is None or images.shape[2:] == (size, size):
        return images
    parts = [
        torch.nn.functional.interpolate(part.float(), (size, size), mode="bicubic", antialias=True)
        for part in torch.split(images, 64)
    ]
    return torch.cat([part.round().clamp(0, 255).to(torch.uint8) for part in parts])
