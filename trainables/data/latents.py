"""Latents that `python -m study.latents` made of a data set: shards on disk, memory-mapped.

<path>/manifest.json          shapes, counts and digests of the shards, what they were made of
       shard-00000.safetensors    latents (N, C, H, W) and conditions (N, ...)
       null.safetensors           the condition that stands for none
       vae/                       the autoencoder that decodes them
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from storage import file_digest, read_sealed
from trainables.checks import require_text
from trainables.data.dataset import Dataset

MANIFEST, LATENTS, NULL = "manifest.json", "latents", "null.safetensors"
_KEYS = {"shards", "tensors", "num_classes", "source", "scaling_factor", "shift_factor"}
_NUM_LOOKED_AT = 64


@dataclass(frozen=True, kw_only=True)
class Latents:
    """A folder that study.latents made. references: whether FID is measured against the images they were made of (which
    must be where they were), or against what the latents decode to.
    """

    name: str
    path: str
    references: bool = True

    def __post_init__(self) -> None:
        require_text("data.path", self.path, "the path of a folder that python -m study.latents made")
        if not isinstance(self.references, bool):
            raise ValueError(f"data.references must be true or false but got {self.references!r}")

    def identity(self) -> Any:
        digests = [shard["sha256"] for shard in self._manifest["shards"]]
        content = hashlib.sha256("".join(digests).encode()).hexdigest()
        return {"source": "latents", "name": self.name, "content": content, "references": self.references}

    def load(self) -> Dataset:
        """Raises ValueError naming a shard that is not there or not as large as it was."""
        manifest, root = self._manifest, Path(self.path)
        for shard in manifest["shards"]:
            path = root / shard["name"]
            if not path.is_file() or path.stat().st_size != shard["bytes"]:
                raise ValueError(f"data.path: {path} is missing or damaged; python -m study.latents makes it again")
        paths = [root / shard["name"] for shard in manifest["shards"]]
        counts = [shard["num_images"] for shard in manifest["shards"]]
        try:
            tensors = {name: Shards(paths, name, counts) for name in manifest["tensors"]}
            null = safetensors.torch.load_file(root / NULL)
        except (OSError, safetensors.SafetensorError) as error:
            raise ValueError(
                f"data.path: {root} is damaged; python -m study.latents makes it again: {error}"
            ) from error
        for name, shards in tensors.items():
            _require_finite(name, shards, root)
        from trainables.data import load_data, make_data

        source = manifest["source"]
        return Dataset(
            images=tensors.pop(LATENTS),  # type: ignore[arg-type]
            conditions=tensors,  # type: ignore[arg-type]
            null=null,
            num_classes=manifest["num_classes"],
            decoder=Decoder(str(root / "vae"), manifest["scaling_factor"], manifest["shift_factor"]),
            references=load_data(make_data(source)) if self.references else None,
        )

    @cached_property
    def _manifest(self) -> dict[str, Any]:
        path = Path(self.path, MANIFEST)
        try:
            manifest = read_sealed(MANIFEST, path)
            _check(manifest)
        except ValueError as error:
            raise ValueError(f"data.path must be a folder that study.latents made but {path}: {error}") from error
        return manifest


def _check(manifest: Any) -> None:
    """Raises ValueError unless it is what `python -m study.latents` writes, with shards beside it."""
    if not isinstance(manifest, dict) or _KEYS - set(manifest):
        raise ValueError(f"it must have the keys {', '.join(sorted(_KEYS))}")
    for shard in manifest["shards"] or [None]:
        if not isinstance(shard, dict) or set(shard) != {"name", "num_images", "bytes", "sha256"}:
            raise ValueError("it must list shards with their name, num_images, bytes and sha256")
        if Path(shard["name"]).name != shard["name"]:
            raise ValueError(f"a shard must lie beside it but one is {shard['name']!r}")


def _require_finite(name: str, shards: "Shards", root: Path) -> None:
    """Looks at some rows from beginning to end: python -m study.latents looked at all."""
    rows = torch.linspace(0, len(shards) - 1, min(len(shards), _NUM_LOOKED_AT)).long()
    if not torch.isfinite(shards[rows]).all():
        raise ValueError(f"data.path: {root} holds {name} that are not finite numbers; encode it again")


class Shards:
    """One tensor (N, ...) in several files, of which only the rows that are asked for are read."""

    def __init__(self, paths: list[Path], name: str, counts: list[int]) -> None:
        self._files = [safetensors.safe_open(path, framework="pt") for path in paths]
        self._slices: list[Any] = [file.get_slice(name) for file in self._files]  # type: ignore[no-untyped-call]
        first = self._slices[0]
        self.shape = torch.Size([sum(counts), *first.get_shape()[1:]])
        self.dtype = first[0:1].dtype
        self._starts = torch.tensor([0, *counts]).cumsum(0)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, indices: torch.Tensor) -> torch.Tensor:
        shards = torch.bucketize(indices, self._starts[1:], right=True)
        rows = [
            self._slices[int(shard)][int(index - self._starts[shard]) : int(index - self._starts[shard]) + 1]
            for shard, index in zip(shards, indices, strict=True)
        ]
        return torch.cat(rows)


@dataclass
class Decoder:
    """Latents as a model sees them -> images in [-1, 1]; the autoencoder is loaded when it is first needed."""

    folder: str
    scaling_factor: float
    shift_factor: float

    def __call__(self, latents: torch.Tensor) -> torch.Tensor:
        vae = self._vae.to(latents.device)
        with torch.inference_mode():
            images: torch.Tensor = vae.decode(latents / self.scaling_factor + self.shift_factor).sample
        return images

    @cached_property
    def _vae(self) -> Any:
        from diffusers import AutoencoderKL

        loaded = AutoencoderKL.from_pretrained(
            self.folder, use_safetensors=True, local_files_only=True, low_cpu_mem_usage=False
        )
        return loaded.eval().requires_grad_(False)


def describe_shard(path: Path, tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """A shard's line in the manifest."""
    size = {"num_images": len(tensors[LATENTS]), "bytes": path.stat().st_size}
    return {"name": path.name, **size, "sha256": file_digest(path)}
