"""Where the student differs from its teacher: error maps over timesteps, and PLACE's groups on an example image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from analysis.figures.style import new_figure
from analysis.records.cells import FloatArray
from storage import source

MAX_TIMESTEPS = 4


@dataclass(frozen=True)
class ErrorMaps:
    """What the evaluation measured of one member: timesteps (T,), squared_error (T, H, W), example (H, W).

    place_group (T, H, W) is the index of PLACE's group of every element, by ascending error; None without PLACE.
    """

    timesteps: npt.NDArray[np.int64]
    squared_error: FloatArray
    example: FloatArray | None
    place_group: npt.NDArray[np.int64] | None


def read_error_maps(path: Path) -> ErrorMaps:
    """The arrays of samples/<run_id>.npz. Raises ValueError naming the file where they are not what they should be."""
    try:
        with np.load(source(path), allow_pickle=False) as data:
            maps = ErrorMaps(
                np.asarray(data["timesteps"], dtype=np.int64),
                np.asarray(data["squared_error"], dtype=np.float64),
                np.asarray(data["example"], dtype=np.float64) if "example" in data else None,
                np.asarray(data["place_group"], dtype=np.int64) if "place_group" in data else None,
            )
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{path} does not hold error maps: {error}") from error
    if maps.squared_error.ndim != 3 or len(maps.squared_error) != len(maps.timesteps):
        raise ValueError(f"{path}: squared_error must be (timesteps, H, W) but is {maps.squared_error.shape}")
    return maps


def error_figure(maps: Mapping[str, ErrorMaps]) -> Figure | None:
    """A row of squared-error maps a method, one colour scale for all; then the example and its groups where there are
    any.

    `maps` goes from a method's label to its maps, all of the same teacher.
    """
    if not maps:
        return None
    rows = [(name, one, kind) for name, one in maps.items() for kind in ("error", "groups")]
    rows = [row for row in rows if row[2] == "error" or row[1].place_group is not None]
    columns = min([MAX_TIMESTEPS, *(len(one.timesteps) for one in maps.values())])
    figure, _ = new_figure(0, inches=(4.8, 1.0))
    figure.set_size_inches(4.8, 1.25 * len(rows) + 0.4)
    known = [one.squared_error[np.isfinite(one.squared_error)] for one in maps.values()]
    highest = max((float(np.quantile(part, 0.99)) for part in known if len(part)), default=1.0)
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for (name, one, kind), axes in zip(rows, grid, strict=True):
        for place, step in zip(axes, _spread(len(one.timesteps), columns), strict=True):
            if kind == "error":
                image = place.imshow(one.squared_error[step], cmap="viridis", vmin=0, vmax=highest or 1.0)
                place.set_title(f"t = {one.timesteps[step]}", fontsize=8)
            else:
                image = _groups(place, one, step)
            place.set_axis_off()
        bar = figure.colorbar(image, ax=list(axes), pad=0.01, fraction=0.05)
        bar.ax.tick_params(labelsize=6.5)
        bar.set_label("squared error" if kind == "error" else "group", fontsize=7)
        label = name if kind == "error" else "its groups"
        axes[0].text(-0.08, 0.5, label, rotation=90, va="center", ha="right", fontsize=7.5, transform=axes[0].transAxes)
    return figure


def _groups(axes: Axes, maps: ErrorMaps, step: int) -> AxesImage:
    """The groups as colours (dark: smallest error) over the example image in grey."""
    assert maps.place_group is not None
    if maps.example is not None:
        axes.imshow(maps.example, cmap="gray")
    return axes.imshow(maps.place_group[step], cmap="cividis", alpha=0.6)


def _spread(count: int, columns: int) -> list[int]:
    return [round(float(index)) for index in np.linspace(0, count - 1, columns)]
