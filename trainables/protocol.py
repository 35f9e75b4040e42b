"""The evaluation protocol of a member, and the content of the files that it names."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from trainables import plugins
from trainables.checks import require_choice, require_number, require_text, require_whole
from trainables.process import SAMPLERS, SPACINGS

GUIDANCE_CHANNELS = ("all", "first_three")
MOST_REFERENCE_IMAGES = 50_000
IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


def file_digest(key: str, path: str) -> str:
    """sha256 of a file; read once as long as it does not change. Raises ValueError, naming the key, without one."""
    try:
        facts = Path(path).stat()
        return _digest(path, facts.st_size, facts.st_mtime_ns)
    except OSError as error:
        raise ValueError(f"evaluation.{key} must be null or the path of a file but got {path}") from error


def is_statistics(reference: str) -> bool:
    """Whether a reference is a saved mean and covariance, and not a folder of images."""
    return Path(reference).suffix == ".npz"


def reference_digest(reference: str) -> str:
    """sha256 of the statistics' file, or of the content of a folder's images, which is read once in a process.

    Raises ValueError where the folder holds no images.
    """
    if is_statistics(reference):
        return file_digest("reference", reference)
    return _images_digest(reference)


@cache
def _images_digest(reference: str) -> str:
    root = Path(reference)
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() in IMAGE_ENDINGS)
    if not files:
        raise ValueError(f"evaluation.reference must be a folder of images or an .npz file but got {reference}")
    listing = "\n".join(f"{path.relative_to(root).as_posix()} {file_digest('reference', str(path))}" for path in files)
    return hashlib.sha256(listing.encode()).hexdigest()


@cache
def _digest(path: str, _size: int, _modified: int) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, kw_only=True)
class EvaluationSpec:
    """The evaluation protocol: how many images are sampled how, and which features they are compared in.

    A member is sampled and measured once for every noise seed; its metrics are the means. reference: what it is
    measured against, the data's images (None), those of a folder, or the mu and sigma of an .npz, which give no more
    than an FID.
    """

    num_images: int
    sampler: str = "ddim"
    sampler_steps: int = 25
    spacing: str = "leading"  # of the sampler's timesteps; linspace: DiT's respacing, the first and the last among them
    feature_extractor: str
    reference_split: str = "train"
    reference: str | None = None
    image_size: int | None = None  # images are resized to this before they are measured; None: as they are
    noise_seeds: tuple[int, ...] = (0,)
    extractor_weights: str | None = None  # a path; None: the extractor's own
    reference_images: int = MOST_REFERENCE_IMAGES  # at most so many for KID, precision and recall; FID takes all
    neighbours: int = 3  # precision and recall: how far a neighbourhood reaches (Kynkaanniemi et al. 2019)
    batch_size: int = 64  # images sampled at once; changes nothing but speed
    guidance: float = 1.0  # classifier-free: unconditional + guidance * (conditional - unconditional)
    guidance_channels: str = "all"  # or first_three, as in DiT's published sampling
    code: Mapping[str, str] = field(init=False, hash=False)  # digests of a user's code in it, by module:name

    def __post_init__(self) -> None:
        require_whole("evaluation.neighbours", self.neighbours, 1, 100)
        require_whole("evaluation.num_images", self.num_images, self.neighbours + 1, 10**7)
        require_whole("evaluation.reference_images", self.reference_images, self.neighbours + 1, 10**7)
        require_whole("evaluation.sampler_steps", self.sampler_steps, 1, 1000)
        require_whole("evaluation.batch_size", self.batch_size, 1, 10**5)
        self._check_noise_seeds()
        require_text("evaluation.feature_extractor", self.feature_extractor, "the name of a feature extractor")
        for name in ("extractor_weights", "reference"):
            if getattr(self, name) is not None:
                require_text(f"evaluation.{name}", getattr(self, name), "null or a path")
        if self.image_size is not None:
            require_whole("evaluation.image_size", self.image_size, 4, 4096)
        require_number("evaluation.guidance", self.guidance, at_least=0)
        sampler = plugins.path_of("evaluation.sampler", "samplers", self.sampler, SAMPLERS)
        object.__setattr__(self, "sampler", sampler)
        own = [path for path in (self.sampler, self.feature_extractor) if plugins.is_path(path)]
        object.__setattr__(self, "code", {path: plugins.code_digest(path) for path in own})
        for name, allowed in (
            ("spacing", SPACINGS if self.sampler == "ddpm" else SPACINGS[:1]),
            ("guidance_channels", GUIDANCE_CHANNELS),
            ("reference_split", ("train",)),
        ):
            require_choice(f"evaluation.{name}", getattr(self, name), allowed)

    def _check_noise_seeds(self) -> None:
        seeds = self.noise_seeds
        if not isinstance(seeds, list | tuple) or not seeds or len(set(map(str, seeds))) < len(seeds):
            raise ValueError(f"evaluation.noise_seeds must be a list of distinct whole numbers but got {seeds!r}")
        for seed in seeds:
            require_whole("evaluation.noise_seeds", seed, 0)
        object.__setattr__(self, "noise_seeds", tuple(seeds))  # lists cannot be hashed

    @property
    def num_sampled(self) -> int:
        """Images sampled of every member, over all noise seeds."""
        return self.num_images * len(self.noise_seeds)

    def identity(self) -> dict[str, Any]:
        """Files count by their content, reference_images only where it is not the default, as for studies of before.

        Raises ValueError naming a file that is not there.
        """
        own = {name: value for name, value in asdict(self).items() if name not in ("batch_size", "code")}
        if self.reference_images == MOST_REFERENCE_IMAGES:
            del own["reference_images"]
        return {
            **own,
            **({"code": self.code} if self.code else {}),
            "noise_seeds": list(self.noise_seeds),
            "extractor_weights": self.extractor_weights and file_digest("extractor_weights", self.extractor_weights),
            "reference": self.reference and reference_digest(self.reference),
        }

    @property
    def reference_name(self) -> str:
        """What rows say of it: the split of the data, or what else with the first digits of its digest."""
        if self.reference is None:
            return self.reference_split
        kind = "statistics" if is_statistics(self.reference) else "folder"
        return f"{kind} {reference_digest(self.reference)[:12]}"
