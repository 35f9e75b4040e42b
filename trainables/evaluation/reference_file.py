"""What a reference gives, in a sealed safetensors file: made once, read by all members' evaluations."""

from pathlib import Path

import safetensors
import safetensors.torch
import torch

from storage import SEAL, cached, new_file, seal
from trainables.evaluation.fidelity import Reference
from trainables.evaluation.moments import Statistics
from trainables.models.digest import tensors_digest


def save_reference(path: Path, reference: Reference) -> None:
    """Writes a safetensors file, whole or not at all."""
    statistics = reference.statistics
    tensors = {
        "features": reference.features.contiguous(),
        _radii_name(reference.neighbours): reference.radii,
        "mu": torch.from_numpy(statistics.mu),
        "sigma": torch.from_numpy(statistics.sigma),
    }
    save_sealed(path, tensors)


def save_sealed(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Writes a safetensors file with the seal that `sealed_tensors` checks, whole or not at all."""
    with new_file(path) as file:
        file.write(safetensors.torch.save(tensors, {SEAL: _seal(path, tensors)}))


def load_reference(path: Path, neighbours: int) -> Reference | None:
    """What `save_reference` wrote; None where that is not there, or not for so many neighbours.

    Raises ValueError, naming the file, where it is damaged.
    """
    if not path.exists():
        return None
    tensors = sealed_tensors(path)
    if not {"features", _radii_name(neighbours), "mu", "sigma"} <= set(tensors):
        return None
    statistics = Statistics(tensors["mu"].numpy(), tensors["sigma"].numpy())
    return Reference(statistics, tensors["features"], tensors[_radii_name(neighbours)], neighbours)


def sealed_tensors(path: Path) -> dict[str, torch.Tensor]:
    """All that was saved. Raises ValueError, naming the file, where it is anything else."""
    try:
        with safetensors.safe_open(cached(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            expected = (file.metadata() or {}).get(SEAL)
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} does not hold tensors: {error}") from error
    if expected != _seal(path, tensors):
        raise ValueError(f"{path} is damaged: its tensors are not those that were saved")
    return tensors


def _radii_name(neighbours: int) -> str:
    return f"radii_{neighbours}"


def _seal(path: Path, tensors: dict[str, torch.Tensor]) -> str:
    return seal(path.name, tensors_digest(tensors).encode())
