"""How every figure looks and how it is saved: colour-blind safe, readable in print, the same bytes every time."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

# Okabe and Ito's palette (2008), told apart with every common colour blindness; markers tell them apart in grey print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#7F7F7F")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
REFERENCE = "#7F7F7F"
_INK = "#141619"  # becomes the page's text colour where the SVG is put into the page
PANEL_INCHES = (4.6, 3.4)

STYLE = {
    "svg.hashsalt": "kd-stability-study",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.color": "#888888",
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "savefig.bbox": None,
    "path.simplify": True,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK),
}


def new_figure(num_panels: int = 1, *, inches: tuple[float, float] = PANEL_INCHES) -> tuple[Figure, list[Axes]]:
    """A figure of `num_panels` panels one under the other, so that it stays readable on a phone."""
    figure = Figure(figsize=(inches[0], inches[1] * num_panels), layout="constrained")
    FigureCanvasAgg(figure)
    axes = [figure.add_subplot(num_panels, 1, index + 1) for index in range(num_panels)]
    return figure, axes


def method_style(methods: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour and marker by method, the same in every figure of a report."""
    return {
        name: {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index % len(MARKERS)]}
        for index, name in enumerate(methods)
    }


def style_context() -> Any:
    return mpl.rc_context(STYLE)


def save_figure(figure: Figure, folder: Path, name: str, titles: Mapping[str, str] | None = None) -> str:
    """Writes folder/name.svg and folder/name.png and returns the SVG to put into a page.

    `titles` maps the gid of an artist to the text that shows while the pointer is over it. Call within style_context().
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = io.StringIO()
    figure.savefig(target, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    figure.set_layout_engine("none")  # the layout is found; finding it again for the PNG would take as long
    svg = _with_titles(target.getvalue(), titles or {})
    (folder / f"{name}.svg").write_text(svg, encoding="utf-8")
    figure.savefig(folder / f"{name}.png", format="png", dpi=110, facecolor="white", metadata={"Software": None})
    return inline_svg(svg, name)


def inline_svg(svg: str, name: str) -> str:
    """The SVG without its XML head, its ids made unique by `name`, its ink the colour of the page's text."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(xlink:href="|url\()#', rf"\1#{name}-", svg)
    svg = re.sub(r'<svg ([^>]*?)width="[^"]*"', r"<svg \1", svg, count=1)
    svg = re.sub(r'<svg ([^>]*?)height="[^"]*"', r"<svg \1", svg, count=1)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    return svg.replace(_INK, "currentColor")


def _with_titles(svg: str, titles: Mapping[str, str]) -> str:
    for gid, text in titles.items():
        svg = svg.replace(f'<g id="{gid}">', f'<g id="{gid}"><title>{escape(text)}</title>', 1)
    return svg


def shared_legend(figure: Figure) -> None:
    """One legend above all panels, with each label once."""
    labels: dict[str, Artist] = {}
    for axes in figure.axes:
        handles, names = axes.get_legend_handles_labels()
        labels.update(zip(names, handles, strict=True))
    figure.legend(list(labels.values()), list(labels), loc="outside upper center", ncols=2)


def label_decades(axis: Axis) -> None:
    """Plain numbers on a logarithmic axis: decades, and 2 and 5 of each, which stay apart."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else ""))
