"""Finds out what module:name is, and tries its contracts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from inspect import Parameter, signature
from typing import Any

from diffusers import SchedulerMixin
from torch import nn

from trainables import plugins
from trainables.checks import check_keys, require_choice, require_whole
from trainables.contracts.finding import Finding
from trainables.contracts.losses import check_feature_loss, check_output_loss
from trainables.contracts.others import check_data, check_extractor, check_family, check_sampler
from trainables.data import DataShape
from trainables.families import Family
from trainables.losses.features import FeatureLoss
from trainables.losses.methods import Method, define_method, make_method
from trainables.losses.settings import REDUCTIONS

KINDS = ("output loss", "feature loss", "data source", "feature extractor", "model family", "sampler")


_KNOWN: dict[str, dict[str, Any]] = {
    "feature loss": {"reduction": "sum"},
    "feature extractor": {"size": 32, "weights": None},
    "model family": {"config": {}, "size": 16, "channels": 3},
    "sampler": {},
}


def check(path: str, settings: Mapping[str, Any]) -> tuple[str, Iterator[Finding]]:
    """What module:name is, and what its contract tests find.

    settings: of an output loss `reduction`, `lambda_out` and its own; of a feature loss `reduction`; of a data source
    the keys of `data`; of an extractor `size` and `weights`; of a family `config`, `size` and `channels`.
    Raises ValueError where it is none of KINDS, or for a setting that it does not have.
    """
    kind = kind_of(path)
    if kind == "output loss":
        return kind, check_output_loss(_method(path, settings))
    if kind == "data source":
        return kind, check_data(path, settings)
    known = _KNOWN[kind]
    check_keys(f"settings of a {kind}", settings, list(known))
    given = {**known, **settings}
    if "size" in given:
        require_whole("size", given["size"], 4, 1024)
    if kind == "feature loss":
        require_choice("reduction", given["reduction"], REDUCTIONS)
        return kind, check_feature_loss(path, given["reduction"])
    if kind == "feature extractor":
        return kind, check_extractor(path, given["size"], given["weights"])
    if kind == "model family":
        require_whole("channels", given["channels"], 1, 64)
        shape = DataShape(image=(given["channels"], given["size"], given["size"]))
        return kind, check_family(path, given["config"], shape)
    return kind, check_sampler(path)


def kind_of(path: str) -> str:
    """Which of KINDS module:name is. Raises ValueError where it is none."""
    found = plugins.load("check", path)
    if isinstance(found, FeatureLoss):
        return "feature loss"
    if isinstance(found, Family):
        return "model family"
    if isinstance(found, type):
        for kind, fits in (
            ("data source", is_dataclass(found) and callable(getattr(found, "load", None))),
            ("sampler", issubclass(found, SchedulerMixin)),
            ("feature extractor", issubclass(found, nn.Module)),
        ):
            if fits:
                return kind
    elif callable(found):
        positional = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
        needed = [
            one for one in signature(found).parameters.values() if one.kind in positional and one.default is one.empty
        ]
        return {2: "output loss", 3: "feature loss"}.get(len(needed), "feature extractor")
    raise ValueError(f"check: {path} must be one of {', '.join(KINDS)} but is {found!r}")


def _method(path: str, settings: Mapping[str, Any]) -> Method:
    recipe = {"lambda_diff": 1.0, "lambda_out": 1.0, "reduction": "sum"}
    own = {"checked": define_method("checked", path, None)}
    return make_method("checked", {**recipe, **settings}, num_elements=64, own=own)
