"""The config's data: what is there, or for a dry run what will be wanted."""

from __future__ import annotations

from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf

from trainables.checks import Raw, mapping
from trainables.data import DataSpec, data_shape, make_data
from trainables.data.planned import make_shape, planned_data


def missing_data(cfg: DictConfig) -> list[str]:
    """The mandatory keys of `data` that a dry run does without: where the data is."""
    if cfg.get("dry_run") is not True:
        return []
    return sorted(key for key in OmegaConf.missing_keys(cfg) if key.startswith("data."))


def without(cfg: DictConfig, keys: Sequence[str]) -> DictConfig:
    """The config with null under the keys."""
    copy = cfg.copy()
    for key in keys:
        OmegaConf.update(copy, key, None)
    return copy


def make_study_data(raw: Raw, missing: Sequence[str]) -> DataSpec:
    """The data, or what it will be where the `missing` keys are not given.

    data.shape is what a dry run takes for granted; data that is there must have it. Raises ValueError naming the key.
    """
    settings = mapping(raw, "data")
    if missing:
        return planned_data(settings, tuple(missing))
    data = make_data(settings)
    if settings.get("shape") is not None and (expected := make_shape(settings)) != data_shape(data):
        raise ValueError(f"data.shape must be that of the data, which is {data_shape(data)}, but got {expected}")
    return data
