"""A data set of the `datasets` package, saved to disk with save_to_disk. Needs the extra `huggingface`."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from trainables.checks import require_text, require_whole
from trainables.data.dataset import CLASSES, Dataset
from trainables.data.prepare import fit, prepared

_SPLIT = "the name of a split"


@dataclass(frozen=True, kw_only=True)
class HuggingFace:
    """The images of a column, in the data set's own order. split: of a DatasetDict. label_column: None: no classes."""

    name: str
    path: str
    size: int
    split: str | None = None
    image_column: str = "image"
    label_column: str | None = None
    crop: int | None = None
    flip: bool = False
    cache: str | None = None

    def __post_init__(self) -> None:
        require_text("data.path", self.path, "the path of a data set that save_to_disk made")
        require_text("data.image_column", self.image_column, "the name of a column")
        require_whole("data.size", self.size, 4, 4096)
        if self.crop is not None:
            require_whole("data.crop", self.crop, 1)
        if not isinstance(self.flip, bool):
            raise ValueError(f"data.flip must be true or false but got {self.flip!r}")

    def identity(self) -> Any:
        """The fingerprint that `datasets` keeps of what was saved."""
        state = self._folder() / "state.json"
        fingerprint = json.loads(state.read_text())["_fingerprint"]
        settings = {"size": self.size, "crop": self.crop, "flip": self.flip, "labels": self.label_column}
        return {"source": "huggingface", "name": self.name, "fingerprint": fingerprint, **settings}

    def load(self) -> Dataset:
        """Raises ValueError for a folder that holds no such data set, or a column that it lacks."""
        try:
            import datasets
        except ImportError as error:
            raise ValueError("data.source=huggingface needs the extra: pip install '.[huggingface]'") from error
        found: Any = datasets.load_from_disk(str(self._folder()))
        for key in ("image_column", "label_column"):
            column = getattr(self, key)
            if column is not None and column not in found.column_names:
                raise ValueError(f"data.{key} must be one of {', '.join(found.column_names)} but got {column!r}")

        def images() -> Iterator[Image.Image]:
            for row in found.select_columns([self.image_column]):
                yield fit(row[self.image_column], self.size, self.crop)

        digest = hashlib.sha256(json.dumps([self.identity(), self.image_column]).encode()).hexdigest()
        tensor = prepared(digest[:32], self.cache, len(found), self.size, images)
        if self.label_column is None:
            return Dataset(images=tensor, flip=self.flip)
        labels = torch.tensor(found[self.label_column][:])
        feature = found.features[self.label_column]
        num_classes = getattr(feature, "num_classes", None) or int(labels.max()) + 1
        null = {CLASSES: torch.tensor(num_classes)}
        return Dataset(images=tensor, conditions={CLASSES: labels}, null=null, num_classes=num_classes, flip=self.flip)

    def _folder(self) -> Path:
        if self.split is not None and Path(require_text("data.split", self.split, _SPLIT)).name != self.split:
            raise ValueError(f"data.split must be {_SPLIT} but got {self.split!r}")
        folder = Path(self.path, self.split or "")
        if not (folder / "state.json").is_file():
            raise ValueError(
                f"data.path must be a data set that save_to_disk made (and data.split its split): {folder}"
            )
        return folder
