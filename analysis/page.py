"""The page: one self-contained HTML file made from a template that escapes whatever it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from analysis.tables import Entry, table_rows


def render_page(entries: Sequence[Entry], figures: Mapping[str, str], *, command: str | None = None) -> str:
    """The HTML of the report. `figures` maps names to SVG made by save_figure, which is trusted as it is."""
    environment = Environment(
        loader=PackageLoader("analysis"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.jinja").render(
        rows=table_rows(entries), figures={name: Markup(svg) for name, svg in figures.items()}, command=command
    )
