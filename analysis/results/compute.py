"""Everything that is computed from the records of one report, before it is drawn or written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analysis.records.cells import Cell, group_cells, methods_of
from analysis.records.published import published_runs
from analysis.records.rows import check_one_protocol, read_runs
from analysis.results.findings import Findings, find
from analysis.results.searches import Arm, read_arms, unfair_cells
from analysis.statistics.comparisons import Comparison, compare_all
from analysis.statistics.rank_correlations import RankCorrelation, rank_correlations
from analysis.statistics.summary import Entry, summarise
from analysis.statistics.trends import SlopeDifference, Trend, slope_differences, trends

STABLE_PHASES = ("grid", "confirm")


@dataclass(frozen=True, kw_only=True)
class Results:
    """`entries` are the stable cells (phases grid and confirm); `other` the entries of ablation cells.

    `runs` are all rows by the name of their study, `study_dirs` where a study's other files lie (None: published).
    """

    runs: dict[str, pa.Table]
    study_dirs: dict[str, Path | None]
    entries: list[Entry]
    ablation: list[Entry]
    methods: list[str]
    comparisons: list[Comparison]
    trends: list[Trend]
    slopes: list[SlopeDifference]
    correlations: list[RankCorrelation]
    findings: Findings
    paired: bool
    arms: list[Arm]  # the searches of protocol=tuned and search
    not_compared: list[str]  # why tuned cells are left out of every comparison


def compute(study_dirs: Sequence[Path], published: str | None, seed: int) -> Results:
    """The results of the studies in `study_dirs` and the paper's table `published`, with resampling from `seed`.

    Raises ValueError where there is nothing to report or where evaluation protocols are mixed.
    """
    directories, runs = read_studies(study_dirs, published)
    cells = _cells(runs, STABLE_PHASES)
    if not cells and not len(rows_of(runs, ("search",))):
        raise ValueError(
            f"study_dir must hold finished grid, confirm or search members but {_names(study_dirs)} has none"
        )
    generator = np.random.default_rng(seed)
    paired = published is None  # the tries of the paper share no known seed
    entries = [(cell, summarise(cell, generator)) for cell in cells]
    arms = [arm for name, path in directories.items() if path is not None for arm in read_arms(path, runs[name])]
    unfair = unfair_cells(cells, arms)
    fair = [cell for cell in cells if cell.run_ids[0] not in unfair]
    comparisons = compare_all(fair, generator, paired=paired)
    slopes = slope_differences(fair, generator, paired=paired)
    trend = trends(cells, generator, paired=paired)
    return Results(
        runs=runs, study_dirs=directories, entries=entries,
        ablation=[(cell, summarise(cell, generator)) for cell in _cells(runs, ("ablation",))],
        methods=methods_of(cells), comparisons=comparisons, trends=trend, slopes=slopes,
        correlations=rank_correlations(cells, generator),
        findings=find(entries, comparisons, trend, slopes, generator, paired=paired), paired=paired,
        arms=arms, not_compared=sorted(set(unfair.values())),
    )  # fmt: skip


def read_studies(
    study_dirs: Sequence[Path], published: str | None
) -> tuple[dict[str, Path | None], dict[str, pa.Table]]:
    """The directories and the rows by the name of the study: its folder's, or the published table's."""
    directories: dict[str, Path | None] = {published: None} if published else {}
    runs = {published: published_runs(published)} if published else {}
    for study_dir in study_dirs:
        table = read_runs(study_dir)
        if not len(table):
            raise ValueError(f"study_dir must hold finished members but {study_dir} has none")
        name = study_dir.resolve().name
        name = name if name not in runs else str(study_dir)
        runs[name], directories[name] = table, study_dir
    if not runs:
        raise ValueError("study_dir or published must be given")
    return directories, runs


def rows_of(runs: Mapping[str, pa.Table], phases: Sequence[str]) -> pa.Table:
    """The rows of all studies that belong to one of `phases`."""
    tables = [
        table.filter(pc.is_in(table.column("phase"), value_set=pa.array(list(phases)))) for table in runs.values()
    ]
    return pa.concat_tables(tables)


def records_of(table: pa.Table, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Rows as dictionaries of `columns`, those with a FID only, by ascending FID."""
    known = table.filter(pc.is_valid(table.column("fid"))).select(list(columns))
    rows: list[dict[str, Any]] = known.to_pylist()
    return sorted(rows, key=lambda row: (row["fid"], row.get("run_id", "")))


def _cells(runs: Mapping[str, pa.Table], phases: Sequence[str]) -> list[Cell]:
    chosen = {name: rows_of({name: table}, phases) for name, table in runs.items()}
    check_one_protocol(pa.concat_tables(chosen.values()))
    if len(runs) == 1:
        return group_cells(next(iter(chosen.values())))
    return [cell for name, table in chosen.items() for cell in group_cells(table, study=name)]


def _names(study_dirs: Sequence[Path]) -> str:
    return ", ".join(map(str, study_dirs))
