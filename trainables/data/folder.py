"""A folder of image files, e.g. CelebA or LSUN."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from trainables.checks import require_text, require_whole
from trainables.data.dataset import CLASSES, Dataset
from trainables.data.prepare import decode, fit, prepared

_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


@dataclass(frozen=True, kw_only=True)
class Folder:
    """All images under `path`, sorted by name: the square in their middle (crop wide; CelebA: 140), resized.

    classes: the sub-folders, sorted, are classes. limit: only the first so many. cache: where the prepared images are
    kept (by default in the system's temporary folder).
    """

    name: str
    path: str
    size: int
    crop: int | None = None
    flip: bool = False
    classes: bool = False
    limit: int | None = None
    cache: str | None = None

    def __post_init__(self) -> None:
        require_text("data.path", self.path, "the path of a folder of images")
        require_whole("data.size", self.size, 4, 4096)
        for key in ("crop", "limit"):
            if getattr(self, key) is not None:
                require_whole(f"data.{key}", getattr(self, key), 1)
        for key in ("flip", "classes"):
            if not isinstance(getattr(self, key), bool):
                raise ValueError(f"data.{key} must be true or false but got {getattr(self, key)!r}")

    def identity(self) -> Any:
        """Not where it is, but what is there: names and sizes of the files."""
        files = self._files()
        listing = "\n".join(f"{path.relative_to(self.path).as_posix()} {path.stat().st_size}" for path in files)
        settings = {"size": self.size, "crop": self.crop, "flip": self.flip, "classes": self.classes}
        digest = hashlib.sha256(listing.encode()).hexdigest()
        return {"source": "folder", "name": self.name, "num_images": len(files), "files": digest, **settings}

    def load(self) -> Dataset:
        """Raises ValueError naming a folder without images, or a file that is none."""
        files = self._files()
        key = f"{self.identity()['files'][:16]}-{self.size}-{self.crop}"
        images = prepared(
            key, self.cache, len(files), self.size, lambda: (fit(decode(path), self.size, self.crop) for path in files)
        )
        if not self.classes:
            return Dataset(images=images, flip=self.flip)
        names = [path.relative_to(self.path).parts[0] for path in files]
        known = sorted(set(names))
        labels = torch.tensor([known.index(name) for name in names])
        null = {CLASSES: torch.tensor(len(known))}
        return Dataset(images=images, conditions={CLASSES: labels}, null=null, num_classes=len(known), flip=self.flip)

    def _files(self) -> list[Path]:
        root = Path(self.path)
        if not root.is_dir():
            raise ValueError(f"data.path must be a folder of images but got {self.path}")
        found = sorted(path for path in root.rglob("*") if path.suffix.lower() in _ENDINGS and path.is_file())
        if not found:
            raise ValueError(f"data.path must hold images ({', '.join(_ENDINGS)}) but {self.path} has none")
        return found[: self.limit]
