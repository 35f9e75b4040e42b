"""Data sets by source, and the seed streams that batches come from.

A source is a frozen dataclass of what a user says of the data: `name`, `identity()` (what member ids hash), `load()`.
Adding one is a file in this folder and a line in SOURCES; one of a user's is module:name (own_data.py).
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from functools import cache
from typing import Any, Protocol

from trainables import plugins
from trainables.checks import check_keys, make
from trainables.data.dataset import Dataset, DataShape
from trainables.data.digits import Digits
from trainables.data.folder import Folder
from trainables.data.generated import Generated
from trainables.data.huggingface import HuggingFace
from trainables.data.images import ImageSource
from trainables.data.latents import Latents
from trainables.data.mnist import Mnist
from trainables.data.own_data import make_own_data
from trainables.data.photographs import Photographs
from trainables.data.planned import Planned

__all__ = [
    "SOURCES",
    "DataShape",
    "DataSpec",
    "Dataset",
    "cache_bytes",
    "data_shape",
    "know_shape",
    "load_data",
    "make_data",
]


class DataSpec(Protocol):
    """A data set as a user describes it; hashable."""

    @property
    def name(self) -> str: ...

    def __hash__(self) -> int: ...

    def identity(self) -> Any:
        """JSON that says which images these are."""

    def load(self) -> Dataset:
        """The data set. Raises ValueError naming what is not there."""


SOURCES: dict[str, Any] = {
    "digits": Digits,
    "folder": Folder,
    "huggingface": HuggingFace,
    "latents": Latents,
    "generated": Generated,
    "mnist": Mnist,
    "photographs": Photographs,
}


_NOT_OWN = ("source", "shape")  # shape: of dry runs


def make_data(settings: Mapping[str, Any]) -> DataSpec:
    """The data set of the settings: `source` (by default the name) and the keys of that source. `shape` is for plans.

    Raises ValueError that names the key, the value and what is allowed.
    """
    key = "source" if "source" in settings else "name"
    source = plugins.path_of(f"data.{key}", "data_sources", settings.get(key), tuple(SOURCES))
    if plugins.is_path(source):
        return make_own_data(source, {name: value for name, value in settings.items() if name not in _NOT_OWN})
    allowed = [field.name for field in fields(SOURCES[source])]
    own = {name: value for name, value in settings.items() if name not in _NOT_OWN}
    check_keys("data", own, ["source", *allowed])
    spec: DataSpec = make(SOURCES[source], "data", own)
    return spec


@cache
def load_data(spec: DataSpec) -> Dataset:
    """The data set, read once in a process, with the images that latents are measured against.

    Raises ValueError naming what is not there.
    """
    data = spec.load()
    if isinstance(spec, Latents) and spec.made_of is not None:
        data = replace(data, references=load_data(make_data(spec.made_of)))
    return data


def data_shape(spec: DataSpec) -> DataShape:
    """Of data that is not there yet as it is planned; else of the data, which is loaded unless its shape is known."""
    if isinstance(spec, Planned):
        return spec.shape
    if spec not in _SHAPES:
        _SHAPES[spec] = load_data(spec).shape
    return _SHAPES[spec]


_SHAPES: dict[DataSpec, DataShape] = {}


def know_shape(spec: DataSpec, shape: DataShape) -> None:
    """From now on `data_shape` takes this one, which it gave where the study was planned."""
    _SHAPES[spec] = shape


def cache_bytes(spec: DataSpec) -> int:
    """What the prepared images of a data set that is there take on each machine, in data.cache; 0 for other data."""
    return spec.cache_bytes() if isinstance(spec, ImageSource) else 0
