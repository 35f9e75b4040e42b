"""What sources of images share: how an image is prepared, and an identity that is what the images are.

The files are read once on a machine and listed once in a process; what is handed on to another process knows its
identity already.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from PIL import Image

from trainables.checks import require_choice, require_text, require_whole
from trainables.data.dataset import CLASSES, Dataset
from trainables.data.pixels import RESAMPLING, fit
from trainables.data.preparing.as_they_are import AsTheyAre
from trainables.data.preparing.cache import Prepared

_PLACES = ("path", "cache", "prepare")  # where and how something is kept says nothing of what it is


@dataclass(frozen=True, kw_only=True)
class ImageSource:
    """The square in the middle of each image (crop wide; null: as wide as fits) or its crop_box, resized.

    crop_box: left, top, right, bottom. background: what shows through transparent pixels, a grey of 0 to 255 or [red,
    green, blue]. channels: 1 or 3; null: as the images are. flip: half of the images that training sees are mirrored.
    cache: where the prepared images are kept (by default in the system's temporary folder). prepare: true: they are;
    false: images are decoded whenever a batch asks for them; null: where the cache has no room for them.
    """

    name: str
    path: str
    size: int
    crop: int | None = None
    crop_box: tuple[int, int, int, int] | None = None
    resampling: str = "bicubic"
    background: int | tuple[int, int, int] = 255
    channels: int | None = None
    flip: bool = False
    cache: str | None = None
    prepare: bool | None = None

    def __post_init__(self) -> None:
        _require_path(self.path)
        require_whole("data.size", self.size, 4, 4096)
        if self.crop is not None:
            require_whole("data.crop", self.crop, 1)
        if self.crop_box is not None:
            object.__setattr__(self, "crop_box", _box(self.crop_box, self.crop))
        require_choice("data.resampling", self.resampling, tuple(RESAMPLING))
        object.__setattr__(self, "background", _colour(self.background))
        if self.channels is not None and (isinstance(self.channels, bool) or self.channels not in (1, 3)):
            raise ValueError(f"data.channels must be null, 1 or 3 but got {self.channels!r}")
        self._require_bool("flip")
        if self.cache is not None:
            require_text("data.cache", self.cache, "null or a path")
        if self.prepare is not None and not isinstance(self.prepare, bool):
            raise ValueError(f"data.prepare must be null, true or false but got {self.prepare!r}")

    def _require_bool(self, key: str) -> None:
        if not isinstance(getattr(self, key), bool):
            raise ValueError(f"data.{key} must be true or false but got {getattr(self, key)!r}")

    def _prepare(self) -> tuple[Prepared, list[int] | None, int | None]:
        """The images, their classes and how many there are. Raises ValueError naming what is wrong with them."""
        raise NotImplementedError

    def identity(self) -> Any:
        """The settings, and digests of the prepared images and their classes: not where they are, but what they are."""
        return self._identity

    def load(self) -> Dataset:
        """Raises ValueError naming what is not there, or where the images are not those that were planned with."""
        data, identity = self._read
        if identity != self._identity:
            raise ValueError(f"data.path: {self.path} holds other images here than where the study was planned")
        return data

    def cache_bytes(self) -> int:
        """What the prepared images take on each machine that reads them; reads them."""
        images = self._read[0].images
        return 0 if isinstance(images, AsTheyAre) else images.numel()

    def _fit(self, image: Image.Image, what: str) -> Image.Image:
        if self.crop_box is not None and (self.crop_box[2] > image.width or self.crop_box[3] > image.height):
            raise ValueError(
                f"data.crop_box={list(self.crop_box)} must lie in every image, but {what} is"
                f" {image.width} wide and {image.height} high"
            )
        if self.channels is not None:
            image = image.convert("L" if self.channels == 1 else "RGB")
        return fit(image, self.size, crop=self.crop, crop_box=self.crop_box, resampling=self.resampling)

    def _key(self, stamp: str) -> str:
        """The name of the prepared images: what follows from the files and from how they are prepared."""
        how = [self.size, self.crop, self.crop_box, self.resampling, self.background, self.channels]
        return hashlib.sha256(json.dumps([stamp, how]).encode()).hexdigest()[:32]

    def _settings(self) -> dict[str, Any]:
        """What of the settings says which images these are."""
        return {key: value for key, value in asdict(self).items() if key not in _PLACES}

    @cached_property
    def _identity(self) -> dict[str, Any]:
        return self._read[1]

    @cached_property
    def _read(self) -> tuple[Dataset, dict[str, Any]]:
        import torch

        found, labels, num_classes = self._prepare()
        identity = {"source": type(self).__name__.lower(), **self._settings(), "num_images": len(found.images)}
        identity |= {"images": found.digest, "channels": found.images.shape[1]}
        if labels is None or num_classes is None:
            return Dataset(images=found.images, flip=self.flip), identity
        identity |= {"labels": hashlib.sha256(json.dumps(labels).encode()).hexdigest(), "num_classes": num_classes}
        classes, null = {CLASSES: torch.tensor(labels)}, {CLASSES: torch.tensor(num_classes)}
        data = Dataset(images=found.images, conditions=classes, null=null, num_classes=num_classes, flip=self.flip)
        return data, identity

    def __getstate__(self) -> dict[str, Any]:
        """Without the images, which every process maps for itself."""
        return {key: value for key, value in self.__dict__.items() if key != "_read"}


def _require_path(path: Any) -> None:
    require_text("data.path", path, "a path")
    if not path.isprintable():
        raise ValueError(f"data.path must be printable UTF-8 text but got {path!r}")


def _box(box: Any, crop: int | None) -> tuple[int, ...]:
    allowed = "null or the left, top, right and bottom of a square in pixels, without data.crop"
    if not isinstance(box, list | tuple) or len(box) != 4 or crop is not None:
        raise ValueError(f"data.crop_box must be {allowed} but got {box!r}")
    for number in box:
        require_whole("data.crop_box", number, 0, 10**6)
    left, top, right, bottom = box
    if not right - left == bottom - top > 0:
        raise ValueError(f"data.crop_box must be {allowed} but got {list(box)}")
    return left, top, right, bottom


def _colour(value: Any) -> int | tuple[int, ...]:
    numbers = list(value) if isinstance(value, list | tuple) else [value]
    if len(numbers) not in (1, 3) or (len(numbers) == 1 and isinstance(value, list | tuple)):
        raise ValueError(f"data.background must be a grey or [red, green, blue], each 0 to 255, but got {value!r}")
    for number in numbers:
        require_whole("data.background", number, 0, 255)
    return numbers[0] if len(numbers) == 1 else tuple(numbers)
