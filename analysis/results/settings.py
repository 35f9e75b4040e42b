"""What a report is asked: declared before the sweep, in study.yaml under `report`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

BASELINES = ("out_kd", "out_feat_kd")
UNDER_STUDY = ("lift_place_feat", "lift_place")  # in this order; else the last method whose name begins with lift


@dataclass(frozen=True, kw_only=True)
class ReportSettings:
    """baseline: the method that all others are compared with; None: out_kd where the study has it, else the first.

    primary: the pair (a, b) whose comparison is tested first; None: the method under study against the baseline.
    margin: FID points within which two means count as equivalent; None: equivalence is not tested.
    all_pairs: whether pairs without the baseline are compared too. collapse_fid: a FID above it has collapsed; None:
    no threshold.
    """

    baseline: str | None = None
    primary: Sequence[str] | None = None
    margin: float | None = None
    all_pairs: bool = False
    collapse_fid: float | None = None

    def __post_init__(self) -> None:
        if self.baseline is not None and not (isinstance(self.baseline, str) and self.baseline):
            raise ValueError(f"report.baseline must be null or a method's name but got {self.baseline!r}")
        primary = self.primary
        if primary is not None and (
            isinstance(primary, str)
            or not isinstance(primary, Sequence)
            or len(primary) != 2
            or len(set(map(str, primary))) != 2
            or not all(isinstance(name, str) and name for name in primary)
        ):
            raise ValueError(f"report.primary must be null or the names of two methods [a, b] but got {primary!r}")
        if not isinstance(self.all_pairs, bool):
            raise ValueError(f"report.all_pairs must be true or false but got {self.all_pairs!r}")
        for name in ("margin", "collapse_fid"):
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and 0 < value < math.inf):
                raise ValueError(f"report.{name} must be null or a number above 0 but got {value!r}")


def baseline_of(settings: ReportSettings, methods: Mapping[str, str]) -> str | None:
    """The baseline among `methods` (label to the method's name); None where there are none.

    By default the first of BASELINES, else the first method that is not a LIFT. Raises ValueError for another name.
    """
    if settings.baseline is not None:
        return _known("report.baseline", settings.baseline, methods)
    found = [label for name in BASELINES if (label := _label_of(name, methods))]
    plain = [label for label, name in methods.items() if not name.startswith("lift")]
    return next(iter([*found, *plain, *methods]), None)


def primary_of(settings: ReportSettings, methods: Mapping[str, str]) -> tuple[str, str] | None:
    """The pair (a, b) that is tested first; None where there are not two methods. Raises ValueError for other names."""
    if settings.primary is not None:
        first, second = (_known("report.primary", name, methods) for name in settings.primary)
        return first, second
    baseline = baseline_of(settings, methods)
    others = {label: name for label, name in methods.items() if label != baseline}
    if baseline is None or not others:
        return None
    lifts = [label for label, name in others.items() if name.startswith("lift")]
    found = [label for name in UNDER_STUDY if (label := _label_of(name, others))]
    return (found or lifts[-1:] or list(others)[-1:])[0], baseline


def _label_of(name: str, methods: Mapping[str, str]) -> str | None:
    """The label of a method: tuned where it was tuned, else with the recipe's settings, else the first variant."""
    own = [label for label, other in methods.items() if other == name]
    tuned = [label for label in own if label.endswith("(tuned)")]
    exact = [label for label in own if label == name]
    return next(iter(tuned or exact or own), None)


def _known(key: str, name: str, methods: Mapping[str, str]) -> str:
    own = [label for label, other in methods.items() if other == name]
    if name not in methods and len(own) == 1:
        return own[0]
    if name not in methods:
        raise ValueError(f"{key} must be among {', '.join(methods)} but got {name!r}")
    return name


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
