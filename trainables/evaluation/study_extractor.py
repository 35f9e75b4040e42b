"""The feature extractor of a study: one that is there, or `own-v1`, which is trained on the study's images.

An own extractor is made by the first process that needs it, and kept beside the reference features that it gives:
reference/own-<id>.safetensors, with what is known of it in own-<id>.json. Its id follows from recipe, seed and images.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch_fidelity.feature_extractor_base import FeatureExtractorBase

from storage import new_file, one_maker, read_sealed, sealed
from trainables.data import Dataset, DataSpec, load_data
from trainables.data.dataset import CLASSES, to_uint8
from trainables.evaluation.extractors import inception, make_extractor
from trainables.evaluation.extractors.own_cnn import NAME, SIDES, OwnCNN, OwnNetwork
from trainables.evaluation.extractors.train_own_cnn import DONE, SEED, OwnImages, train_own
from trainables.evaluation.fidelity import image_features
from trainables.evaluation.reference_file import save_sealed, sealed_tensors
from trainables.evaluation.references import check_reference, reference_images, resized
from trainables.models.digest import tensors_digest
from trainables.protocol import EvaluationSpec, is_statistics
from trainables.specs import content_id

LEAST_IMAGES_OF_A_CLASS = 10  # on average; with fewer, classes are not learned
LEAST_IMAGES = 40
NUM_LOOKED_AT, LEAST_SPREAD = 8, 1e-4


def study_extractor(
    spec: EvaluationSpec, data: DataSpec, folder: Path, device: torch.device | str
) -> FeatureExtractorBase:
    """The extractor of the protocol on `device`, frozen; `folder` is where an own one is kept, and made where it is
    missing. Raises ValueError where that cannot be.
    """
    if spec.feature_extractor != NAME:
        return make_extractor(spec.feature_extractor, weights_path=spec.extractor_weights, device=device)
    return _own_extractor(spec, data, folder, torch.device(device)).to(device)


def extractor_name(spec: EvaluationSpec, data: DataSpec) -> str:
    """What rows say: the extractor's name, and of an own one whose images it knows."""
    return f"{NAME} {own_id(spec, data)}" if spec.feature_extractor == NAME else spec.feature_extractor


def own_id(spec: EvaluationSpec, data: DataSpec) -> str:
    """Of the extractor that is trained on these images; it is known before there is one."""
    return content_id(_own_identity(spec, data))


def _own_identity(spec: EvaluationSpec, data: DataSpec) -> dict[str, Any]:
    reference = spec.identity()["reference"]
    images = {"data": data.identity(), "reference": reference, "image_size": spec.image_size}
    return {"recipe": NAME, "seed": SEED, **images}


def check_extractor(spec: EvaluationSpec, data: DataSpec, *, fetch: bool = True) -> None:
    """Raises ValueError, naming the key, for an extractor that is not there, cannot be made or tells nothing apart.

    fetch: whether weights that are not here yet are downloaded; else that extractor is not looked at.
    """
    if spec.feature_extractor == NAME:
        _check_own(spec, data)
        return
    if not fetch and spec.feature_extractor == inception.NAME and spec.extractor_weights is None:
        return
    extractor = make_extractor(spec.feature_extractor, weights_path=spec.extractor_weights)
    check_reference(spec, data, extractor)
    images = load_data(data)
    if spec.extractor_weights is not None and (images.decoder is None or images.references is not None):
        some = torch.arange(0, len(images), max(1, len(images) // NUM_LOOKED_AT))[:NUM_LOOKED_AT]
        seen = resized(to_uint8(images.reference(some)), spec.image_size)
        require_varied(image_features(extractor, seen, NUM_LOOKED_AT).features, spec)


def require_varied(features: torch.Tensor, spec: EvaluationSpec) -> None:
    """Raises ValueError where the features (N, D) of different images are all the same."""
    if len(features) < 2 or not features.isfinite().all():
        return
    size, spread = features.double().norm(dim=1).mean(), features.double().std(dim=0).norm()
    if spread <= LEAST_SPREAD * size:
        raise ValueError(
            f"evaluation.feature_extractor={spec.feature_extractor} gives {len(features)} images the same features"
            f" (they spread over {spread / size if size else 0:.1g} of their size), as with random weights: its FID"
            " would be about 0 for everything. Allowed: trained weights, of images like these"
        )


def _check_own(spec: EvaluationSpec, data: DataSpec) -> None:
    """Raises ValueError, naming the key, where no extractor can be trained on what images are measured against."""
    key = f"evaluation.feature_extractor={NAME}"
    if spec.extractor_weights is not None:
        raise ValueError(f"{key} is trained by the study: evaluation.extractor_weights must be null with it")
    if spec.reference is not None and is_statistics(spec.reference):
        raise ValueError(f"{key} needs images: evaluation.reference must be null or a folder with it")
    _own_images(spec, reference_images(spec, data))


def _own_images(spec: EvaluationSpec, data: Dataset) -> OwnImages:
    """The images that samples are measured against, with their classes where enough images have one."""
    key = f"evaluation.feature_extractor={NAME}"
    if len(data) < LEAST_IMAGES:
        raise ValueError(f"{key} needs {LEAST_IMAGES} images or more, but there are {len(data)}")

    def read(indices: torch.Tensor) -> torch.Tensor:
        return resized(to_uint8(data.reference(indices)), spec.image_size)

    height, width = read(torch.arange(1)).shape[2:]
    low, high = SIDES
    if height != width or not low <= height <= high:
        raise ValueError(
            f"{key} reads square images of {low}x{low} to {high}x{high}, but those that are measured are"
            f" {height}x{width}; allowed: evaluation.image_size from {low} to {high}"
        )
    images = OwnImages(read=read, num_images=len(data), side=height)
    classes, num_classes = data.conditions.get(CLASSES), data.num_classes or 0
    if classes is None or not 2 <= num_classes <= len(data) // LEAST_IMAGES_OF_A_CLASS:
        return images
    return OwnImages(read=read, num_images=len(data), side=height, classes=classes, num_classes=num_classes)


@dataclass(frozen=True, kw_only=True)
class _Files:
    weights: Path
    facts: Path

    def are_there(self) -> bool:
        return self.weights.exists() and self.facts.exists()

    def digest(self) -> str | None:
        """Of the weights, by either file; None where both are gone. Raises ValueError for a damaged one."""
        if self.weights.exists():
            return tensors_digest(sealed_tensors(self.weights))
        return read_sealed(self.facts.name, self.facts)["digest"] if self.facts.exists() else None


def _own_extractor(spec: EvaluationSpec, data: DataSpec, folder: Path, device: torch.device) -> OwnCNN:
    name = f"own-{own_id(spec, data)}"
    files = _Files(weights=folder / f"{name}.safetensors", facts=folder / f"{name}.json")
    with one_maker(files.weights, files.are_there) as missing:
        if missing:
            _make_own(files, _own_identity(spec, data), _own_images(spec, reference_images(spec, data)), device)
    facts, tensors = read_sealed(files.facts.name, files.facts), sealed_tensors(files.weights)
    if tensors_digest(tensors) != facts["digest"]:
        raise ValueError(f"{files.weights} is not what {files.facts.name} says")
    with torch.device("meta"):
        network = OwnNetwork(facts["side"], facts["num_outputs"] - len(DONE), len(DONE))
    network.load_state_dict(tensors, assign=True)
    return OwnCNN(network, facts["side"], facts["num_classes"])


def _make_own(files: _Files, identity: dict[str, Any], images: OwnImages, device: torch.device) -> None:
    """Trains it and writes both files. Raises ValueError where rows were measured by one that comes out otherwise."""
    trained = train_own(images, device)
    tensors = {key: tensor.cpu().contiguous() for key, tensor in trained.network.state_dict().items()}
    digest = tensors_digest(tensors)
    if files.digest() not in (None, digest):
        raise ValueError(
            f"one of {files.weights} and {files.facts.name} is gone, and another machine or number of threads made"
            " other weights of the same images: FIDs of both do not compare. Bring it back, or remove both and the"
            " records"
        )
    facts = {
        **identity,
        "trained_on": "turns" if images.classes is None else "classes",
        "num_images": images.num_images,
        "side": images.side,
        "num_classes": 0 if images.classes is None else images.num_classes,
        "num_outputs": images.num_classes + len(DONE),
        "held_out_loss": trained.loss,
        "digest": digest,
    }
    save_sealed(files.weights, tensors)
    with new_file(files.facts) as file:
        file.write(sealed(files.facts.name, facts))
