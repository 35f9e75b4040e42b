"""A data set of the `datasets` package, saved to disk with save_to_disk. Needs the extra `huggingface`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from trainables.checks import require_choice, require_text
from trainables.data.images import ImageSource
from trainables.data.listing import stamp_of
from trainables.data.pixels import read_image
from trainables.data.preparing.cache import Prepared, prepared
from trainables.data.preparing.decode import Undecoded

_SPLIT = "the name of a split"


class _Numbered(Sequence[tuple[int, Any]]):
    """A column's values with the numbers of their rows."""

    def __init__(self, column: Any) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    def __getitem__(self, number: Any) -> Any:
        return number, self._column[number]


@dataclass(frozen=True, kw_only=True)
class HuggingFace(ImageSource):
    """The images of a column, in the data set's own order. split: of a DatasetDict. label_column: None: no classes."""

    split: str | None = None
    image_column: str = "image"
    label_column: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require_text("data.image_column", self.image_column, "the name of a column")
        if self.label_column is not None:
            require_text("data.label_column", self.label_column, "null or the name of a column")
        if self.split is not None and Path(require_text("data.split", self.split, _SPLIT)).name != self.split:
            raise ValueError(f"data.split must be {_SPLIT} but got {self.split!r}")

    def _prepare(self) -> tuple[Prepared, list[int] | None, int | None]:
        folder = self._folder()
        rows = self._rows(folder)
        labels = None if self.label_column is None else rows[self.label_column][:]
        num_classes = None if labels is None else self._num_classes(labels, rows.features[self.label_column])

        key = self._key(json.dumps([stamp_of(folder), self.image_column]))
        source = Undecoded(_Numbered(rows[self.image_column]), self._decode, self.size, self.channels or 3)
        return prepared(key, self.cache, source, prepare=self.prepare), labels, num_classes

    def _decode(self, row: tuple[int, Any]) -> tuple[Image.Image, bool]:
        number, value = row
        image, has_others = read_image(*self._source(value, number), self.background)
        return self._fit(image, f"row {number}"), has_others

    def _rows(self, folder: Path) -> Any:
        """The data set, with images as their files have them. Raises ValueError for an empty one or a wrong column."""
        try:
            import datasets
        except ImportError as error:
            raise ValueError("data.source=huggingface needs the extra: pip install '.[huggingface]'") from error
        try:
            if json.loads((folder / "state.json").read_text()).get("_data_files") == []:
                raise ValueError("it has no rows")
            rows: Any = datasets.load_from_disk(str(folder))
        except Exception as error:  # datasets and pyarrow fail in many ways
            raise ValueError(f"data.path: {folder} cannot be read: {error}") from error
        if not len(rows):
            raise ValueError(f"data.path: {folder} cannot be read: it has no rows")
        for key in ("image_column", "label_column"):
            if getattr(self, key) is not None:
                require_choice(f"data.{key}", getattr(self, key), rows.column_names)
        if isinstance(rows.features[self.image_column], datasets.Image):
            rows = rows.cast_column(self.image_column, datasets.Image(decode=False))
        return rows

    def _source(self, value: Any, number: int) -> tuple[Path | BytesIO, str]:
        """Where the image of a row is, and what it is called in errors."""
        where = f"data.image_column={self.image_column}: row {number}"
        if isinstance(value, dict) and isinstance(value.get("bytes"), bytes):
            return BytesIO(value["bytes"]), where
        if isinstance(value, dict) and isinstance(value.get("path"), str):
            return Path(value["path"]), where
        kind = "no image (None)" if value is None else f"of type {type(value).__name__} and not an image"
        raise ValueError(
            f"{where} is {kind}; cast_column({self.image_column!r}, datasets.Image()) makes images of files"
        )

    def _num_classes(self, labels: list[Any], feature: Any) -> int:
        where, num_classes = f"data.label_column={self.label_column}", getattr(feature, "num_classes", None)
        for number, label in enumerate(labels):
            if not isinstance(label, int):
                hint = f"; class_encode_column({self.label_column!r}) makes numbers of text" * isinstance(label, str)
                raise ValueError(f"{where}: row {number} must be a whole number but is {label!r}{hint}")
            if label < 0 or (num_classes is not None and label >= num_classes):
                last = "" if num_classes is None else f" to {num_classes - 1}"
                raise ValueError(f"{where}: row {number} must be a class from 0{last} but is {label}")
        return int(num_classes or max(labels) + 1)

    def _folder(self) -> Path:
        folder = Path(self.path, self.split or "")
        if not (folder / "state.json").is_file():
            raise ValueError(
                f"data.path must be a data set that save_to_disk made (and data.split its split{self._splits()}):"
                f" {folder}"
            )
        return folder

    def _splits(self) -> str:
        """Of a DatasetDict, as far as they can be read."""
        try:
            splits = json.loads(Path(self.path, "dataset_dict.json").read_text())["splits"]
            return f": {', '.join(splits)}"
        except (OSError, ValueError, KeyError, TypeError):
            return ""
