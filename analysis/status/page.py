"""The status page: one self-contained HTML file that says how a study stands."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

from analysis.status.status import RUNNING, StudyStatus, cell_row, describe_pack, facts

_MAX_REMARKS, _MAX_WAITING = 50, 10


def render_status(status: StudyStatus, refresh_seconds: float | None = None) -> str:
    """The HTML; all of it is escaped. The page loads itself again while the study runs."""
    environment = Environment(
        loader=PackageLoader("analysis"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    count = status.count
    parts = [(name, count[name]) for name in ("ok", "collapsed", "diverged", "running", "waiting")]
    return environment.get_template("status.html.jinja").render(
        status=status,
        facts=facts(status),
        parts=[(name, number, 100.0 * number / max(1, status.planned)) for name, number in parts],
        rows=[cell_row(cell) for cell in status.cells],
        running=list(map(describe_pack, status.running)),
        waiting=list(map(describe_pack, status.waiting[:_MAX_WAITING])),
        more_waiting=max(0, len(status.waiting) - _MAX_WAITING),
        remarks=(
            ("Trouble of this sweep", status.failures[:_MAX_REMARKS], len(status.failures)),
            ("Came out badly", status.bad[:_MAX_REMARKS], len(status.bad)),
        ),
        refresh=refresh_seconds if status.state == RUNNING else None,
    )
