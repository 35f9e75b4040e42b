"""The paper's Tables 7, 8 and 9 beside a study's own figures, where the study did the same experiment."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from analysis.records.cells import teachers_of
from analysis.records.published import published_table
from analysis.results.text import number
from analysis.statistics.summary import Entry


@dataclass(frozen=True)
class Beside:
    """A small table: the paper's numbers and the study's, as text."""

    title: str
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def beside_the_paper(entries: Sequence[Entry], runs: pa.Table) -> list[Beside]:
    """The tables that match: 8 with two of its four objectives, 9 with its two methods timed, 7 with a DiT teacher.

    Only what was measured as in the paper: the same data, and for FIDs the same feature extractor.
    """
    found = [
        _components(_measured_alike(entries, "celeba")),
        _overhead(_of_data(runs, "lsun")),
        _dit(_measured_alike(entries, "imagenet")),
    ]
    return [one for one in found if one is not None]


def _measured_alike(entries: Sequence[Entry], data: str) -> list[Entry]:
    """The cells whose FIDs are of the paper's data and extractor: others are not numbers of the same thing."""
    return [
        (cell, summary)
        for cell, summary in entries
        if "inception" in str(cell.member.get("evaluation.feature_extractor"))
        and any(str(value).startswith(data) for key, value in cell.member.items() if key.split(".")[0] == "data")
    ]


def _of_data(runs: pa.Table, data: str) -> pa.Table:
    return runs.filter(pc.starts_with(runs.column("data"), data))


def _components(entries: Sequence[Entry]) -> Beside | None:
    table = published_table("table8")
    teachers = teachers_of([cell for cell, _ in entries])
    own = {cell.name: summary for cell, summary in entries if teachers and cell.teacher == teachers[-1]}
    rows = []
    for row in table["rows"]:
        method = "lift" + ("_place" if row["place"] else "") + ("_feat" if row["feat"] else "")
        summary = own.get(method)
        ours = f"{number(summary.fid_mean)} ± {number(summary.fid_std)}" if summary else "–"
        rows.append((method, number(row["fid"]), ours))
    if sum(row[2] != "–" for row in rows) < 2:
        return None
    header = ("objective", "paper, FID", f"this study with {teachers[-1]}, FID")
    return Beside("Components of the objective (Table 8)", table["caption"], header, tuple(rows))


def _overhead(runs: pa.Table) -> Beside | None:
    table = published_table("table9")
    speeds = {method: _mean(runs, method, "steps_per_second") for method in ("out_feat_kd", "lift_place_feat")}
    if not all(map(math.isfinite, speeds.values())):
        return None
    ratio = speeds["lift_place_feat"] / speeds["out_feat_kd"]
    rows = [(row["dataset"], number(row["lift_place_iter_s"] / row["baseline_iter_s"], 3)) for row in table["rows"]]
    rows.append(("this study", number(ratio, 3)))
    header = ("data", "steps a second of LIFT+PLACE over OutKD+FeatKD")
    return Beside("Training overhead (Table 9)", table["caption"], header, tuple(rows))


def _dit(entries: Sequence[Entry]) -> Beside | None:
    table = published_table("table7")
    own = [(cell, summary) for cell, summary in entries if "dit" in re.split(r"[^a-z0-9]+", cell.teacher_name.lower())]
    if not own:
        return None
    rows = [(f"paper: {row['teacher']}", row["method"], number(row["fid"])) for row in table["rows"]]
    rows += [(cell.teacher_name, cell.method, number(summary.fid_mean)) for cell, summary in own]
    return Beside("Teacher capacity in DiT (Table 7)", table["caption"], ("teacher", "method", "FID"), tuple(rows))


def _mean(runs: pa.Table, method: str, name: str) -> float:
    value = pc.mean(runs.filter(pc.equal(runs.column("method"), method)).column(name)).as_py()
    return float("nan") if value is None else float(value)
