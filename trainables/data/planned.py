"""Data that is not there yet: enough for a dry run, which needs shapes alone."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from trainables.checks import make, mapping, require_text, require_whole
from trainables.data.dataset import Dataset, DataShape


@dataclass(frozen=True, kw_only=True)
class Planned:
    """What a study will be trained on. wanted: the keys of `data` that must say where it is."""

    name: str
    shape: DataShape
    wanted: tuple[str, ...]

    def identity(self) -> Any:
        return {"source": "planned", "name": self.name, "shape": asdict(self.shape)}

    def load(self) -> Dataset:
        raise ValueError(f"{self.wanted[0]} must say where {self.name} is; without it there are only dry runs")

    def __str__(self) -> str:
        """E.g. `data celeba: images of 3x64x64, wanted at data.path: a run is refused without`."""
        shape = self.shape
        parts = [f"images of {'x'.join(map(str, shape.image))}"]
        parts += [f"{shape.num_classes} classes"] if shape.num_classes else []
        parts += [f"text of {shape.text[0]} tokens of {shape.text[1]} features"] if shape.text else []
        parts += [f"pooled text of {shape.pooled} features"] if shape.pooled else []
        return f"data {self.name}: {', '.join(parts)}, wanted at {', '.join(self.wanted)}: a run is refused without"


def planned_shape(settings: Mapping[str, Any]) -> DataShape:
    """The shape that the settings of `data` say: data.shape, or data.channels and data.size without conditions.

    Raises ValueError naming what must be said.
    """
    if settings.get("shape") is not None:
        return make_shape(settings)
    if settings.get("channels") is None or settings.get("classes") or settings.get("label_column"):
        raise ValueError(
            "data.path must be given; or data.shape for a dry run of data that are not there: {image: [C, H, W]} and"
            " what there is of num_classes, text: [tokens, features] and pooled"
        )
    for key, low, high in (("channels", 1, 3), ("size", 4, 4096)):
        require_whole(f"data.{key}", settings.get(key), low, high)
    return DataShape(image=(settings["channels"], settings["size"], settings["size"]))


def make_shape(settings: Mapping[str, Any]) -> DataShape:
    """data.shape as a DataShape."""
    raw = mapping(settings, "shape", "data.shape")
    for key, num in (("image", 3), ("text", 2)):
        value = raw.get(key)
        if (value is not None or key == "image") and (not isinstance(value, list) or len(value) != num):
            raise ValueError(f"data.shape.{key} must be {num} whole numbers but got {value!r}")
        for number in value or ():
            require_whole(f"data.shape.{key}", number, 1, 10**5)
    for key in ("num_classes", "pooled"):
        if raw.get(key) is not None:
            require_whole(f"data.shape.{key}", raw[key], 1, 10**6)
    tuples = {key: tuple(value) if isinstance(value, list) else value for key, value in raw.items()}
    return make(DataShape, "data.shape", tuples)


def planned_data(settings: Mapping[str, Any], wanted: tuple[str, ...]) -> Planned:
    """The data of the settings before it is there."""
    name = require_text("data.name", settings.get("name"), "the name of the data")
    return Planned(name=name, shape=planned_shape(settings), wanted=wanted)
