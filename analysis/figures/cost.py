"""What a method costs against what it gives: device-seconds and FID of every cell."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.figure import Figure

from analysis.figures.style import method_style, new_figure
from analysis.results.text import number
from analysis.statistics.summary import Entry


def cost_figure(entries: Sequence[Entry], methods: Sequence[str]) -> tuple[Figure, dict[str, str]] | None:
    """Mean device-seconds of a member against mean FID +- std, a point a cell, with hover texts. None: no costs
    known."""
    known = [entry for entry in entries if math.isfinite(entry[1].device_seconds_mean + entry[1].fid_mean)]
    if not known:
        return None
    figure, (axes,) = new_figure(1)
    styles = method_style(methods)
    titles = {}
    for place, (cell, summary) in enumerate(known):
        gid = f"cost-{place}"
        titles[gid] = (
            f"{cell.method}, {cell.teacher_name}: {number(summary.device_seconds_mean, 1)} device-seconds, "
            f"FID {number(summary.fid_mean)} ± {number(summary.fid_std)}"
        )
        spread = summary.fid_std if math.isfinite(summary.fid_std) else 0.0
        first = all(other.method != cell.method for other, _ in known[:place])
        axes.errorbar(summary.device_seconds_mean, summary.fid_mean, yerr=spread, elinewidth=1, capsize=2, linestyle="",
                      label=cell.method if first else None, markersize=6, **styles[cell.method])  # fmt: skip
        axes.plot(
            summary.device_seconds_mean, summary.fid_mean, linestyle="", markersize=7, gid=gid, **styles[cell.method]
        )
    axes.set_xlabel("device-seconds a member")
    axes.set_ylabel("FID, mean ± std")
    figure.legend(loc="outside upper center", ncols=2)
    return figure, titles
