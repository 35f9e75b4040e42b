"""The status page: one self-contained HTML file that says how a study stands."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

from analysis.status.status import RUNNING, Standing, cell_row, describe_pack, facts

_MAX_REMARKS, _MAX_WAITING = 50, 10


def render_status(standing: Standing, refresh_seconds: float | None = None) -> str:
    """The HTML; whatever the standing says is escaped. The page loads itself again while the study runs."""
    environment = Environment(
        loader=PackageLoader("analysis"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    count = standing.count
    parts = [(name, count[name]) for name in ("ok", "collapsed", "diverged", "running", "waiting")]
    return environment.get_template("status.html.jinja").render(
        standing=standing,
        facts=facts(standing),
        parts=[(name, number, 100.0 * number / max(1, standing.planned)) for name, number in parts],
        rows=[cell_row(cell) for cell in standing.cells],
        running=list(map(describe_pack, standing.running)),
        waiting=list(map(describe_pack, standing.waiting[:_MAX_WAITING])),
        more_waiting=max(0, len(standing.waiting) - _MAX_WAITING),
        remarks=(
            ("Trouble of this sweep", standing.failures[:_MAX_REMARKS], len(standing.failures)),
            ("Came out badly", standing.bad[:_MAX_REMARKS], len(standing.bad)),
        ),
        refresh=refresh_seconds if standing.state == RUNNING else None,
    )
