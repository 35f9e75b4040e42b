"""Latents that `python -m study.latents` made of a data set: shards on disk, memory-mapped.

<path>/manifest.json          shapes, counts and digests of the shards, what they were made of
       shard-00000.safetensors    mean (latents) and log variance of the posterior, each (N, C, H, W), those of the
                                  mirrored images where the data is mirrored, and conditions (N, ...)
       extra_prompts-00000.safetensors, evaluation_prompts-00000.safetensors    conditions without images
       null.safetensors           the condition that stands for none
       vae/                       the autoencoder that decodes them
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors

from storage import file_digest, read_sealed
from trainables.checks import require_text
from trainables.data.dataset import POOLED, TEXT, Dataset, Posterior

if TYPE_CHECKING:
    import torch

MANIFEST, LATENTS, NULL = "manifest.json", "latents", "null.safetensors"
LOG_VARIANCE, MIRRORED, MIRRORED_LOG_VARIANCE = "log_variance", "mirrored_latents", "mirrored_log_variance"
PROMPTS = ("extra_prompts", "evaluation_prompts")  # without images
_KEYS = {"prompts", "shards", "tensors", "num_classes", "source", "scaling_factor", "shift_factor"}
_OF_IMAGES = (LATENTS, LOG_VARIANCE, MIRRORED, MIRRORED_LOG_VARIANCE)
_NUM_LOOKED_AT = 64


@dataclass(frozen=True, kw_only=True)
class Latents:
    """A folder that study.latents made. references: whether FID is measured against the images they were made of (which
    must be where they were), or against what the latents decode to. extra_prompts: whether random conditioning draws
    prompts without images, too. evaluation_prompts: whether samples are drawn for prompts of their own.
    """

    name: str
    path: str
    references: bool = True
    extra_prompts: bool = False
    evaluation_prompts: bool = False

    def __post_init__(self) -> None:
        require_text("data.path", self.path, "the path of a folder that python -m study.latents made")
        for name in ("references", *PROMPTS):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"data.{name} must be true or false but got {getattr(self, name)!r}")

    def identity(self) -> Any:
        prompts = {name: _digest_of(self._prompt_shards(name)) for name in PROMPTS if getattr(self, name)}
        content = {"content": _digest_of(self._manifest["shards"]), **prompts}
        return {"source": "latents", "name": self.name, **content, "references": self.references}

    def _prompt_shards(self, name: str) -> list[dict[str, Any]]:
        """None where they are not wanted. Raises ValueError where they are, and the folder has none."""
        shards: list[dict[str, Any]] = self._manifest["prompts"].get(name, []) if getattr(self, name) else []
        if getattr(self, name) and not shards:
            raise ValueError(
                f"data.{name} must be false for {self.path}, which has none; python -m study.latents {name}="
            )
        return shards

    @property
    def made_of(self) -> Mapping[str, Any] | None:
        """The settings of the data whose images are the references; None where FID is measured against the decoded."""
        return self._manifest["source"] if self.references else None

    def load(self) -> Dataset:
        """The latents without their references, which `trainables.data.load_data` adds.

        Raises ValueError naming a shard that is not there or not as large as it was.
        """
        import safetensors.torch

        manifest, root = self._manifest, Path(self.path)
        for shard in [*manifest["shards"], *(one for name in PROMPTS for one in self._prompt_shards(name))]:
            path = root / shard["name"]
            if not path.is_file() or path.stat().st_size != shard["bytes"]:
                raise ValueError(f"data.path: {path} is missing or damaged; python -m study.latents makes it again")
        try:
            tensors = _open(root, manifest["shards"], manifest["tensors"])
            conditions = [name for name in manifest["tensors"] if name not in _OF_IMAGES]
            texts = [name for name in conditions if name in (TEXT, POOLED)]
            extra, evaluation = (_open(root, self._prompt_shards(name), texts) for name in PROMPTS)
            null = safetensors.torch.load_file(root / NULL)
        except (OSError, safetensors.SafetensorError) as error:
            raise ValueError(
                f"data.path: {root} is damaged; python -m study.latents makes it again: {error}"
            ) from error
        for name, shards in tensors.items():
            _require_finite(name, shards, root)
        posterior = _posterior(tensors, root)
        return Dataset(
            images=tensors[LATENTS],  # type: ignore[arg-type]
            conditions={name: tensors[name] for name in conditions},  # type: ignore[misc]
            extra_conditions=extra,  # type: ignore[arg-type]
            evaluation_conditions=evaluation,  # type: ignore[arg-type]
            null=null,
            flip=posterior.mirrored is not None,
            posterior=posterior,
            num_classes=manifest["num_classes"],
            decoder=Decoder(str(root / "vae"), manifest["scaling_factor"], manifest["shift_factor"]),
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


def _digest_of(shards: list[dict[str, Any]]) -> str:
    return hashlib.sha256("".join(shard["digest"] for shard in shards).encode()).hexdigest()


def _open(root: Path, shards: list[dict[str, Any]], names: list[str]) -> dict[str, Shards]:
    """The named tensors of the shards; none where there are no shards."""
    paths, counts = [root / shard["name"] for shard in shards], [shard["num_images"] for shard in shards]
    return {name: Shards(paths, name, counts) for name in names if shards}


def _posterior(tensors: Mapping[str, Any], root: Path) -> Posterior:
    if LOG_VARIANCE not in tensors:
        raise ValueError(f"data.path: {root} holds no {LOG_VARIANCE}; python -m study.latents makes it again")
    mirrored = (tensors[MIRRORED], tensors[MIRRORED_LOG_VARIANCE]) if MIRRORED in tensors else None
    return Posterior(log_variance=tensors[LOG_VARIANCE], mirrored=mirrored)


def _check(manifest: Any) -> None:
    """Raises ValueError unless it is what `python -m study.latents` writes, with shards beside it."""
    if not isinstance(manifest, dict) or _KEYS - set(manifest):
        raise ValueError(f"it must have the keys {', '.join(sorted(_KEYS))}")
    prompts = manifest["prompts"]
    if not isinstance(prompts, dict) or not all(isinstance(shards, list) for shards in prompts.values()):
        raise ValueError("its prompts must be lists of shards by name")
    for shard in [*(manifest["shards"] or [None]), *(shard for shards in prompts.values() for shard in shards)]:
        if not isinstance(shard, dict) or set(shard) != {"name", "num_images", "bytes", "digest"}:
            raise ValueError("it must list shards with their name, num_images, bytes and digest")
        if Path(shard["name"]).name != shard["name"]:
            raise ValueError(f"a shard must lie beside it but one is {shard['name']!r}")


def _require_finite(name: str, shards: Shards, root: Path) -> None:
    """Looks at some rows from beginning to end: python -m study.latents looked at all."""
    import torch

    rows = torch.linspace(0, len(shards) - 1, min(len(shards), _NUM_LOOKED_AT)).long()
    if not torch.isfinite(shards[rows]).all():
        raise ValueError(f"data.path: {root} holds {name} that are not finite numbers; encode it again")


class Shards:
    """One tensor (N, ...) in several files, of which only the rows that are asked for are read."""

    def __init__(self, paths: list[Path], name: str, counts: list[int]) -> None:
        import torch

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
        import torch

        if not len(indices):
            return torch.empty((0, *self.shape[1:]), dtype=self.dtype)
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
        import torch

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
    """A shard's entry in the manifest; digest: sha256 of the file."""
    size = {"num_images": len(next(iter(tensors.values()))), "bytes": path.stat().st_size}
    return {"name": path.name, **size, "digest": file_digest(path)}
