"""Everything that is computed from the records of one report, before it is drawn or written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analysis.records.cells import Cell, group_cells, methods_of
from analysis.records.protocol import check_one_protocol, choose_rows
from analysis.records.published import published_runs
from analysis.records.real_images import RealImages, read_real_images
from analysis.records.rows import read_runs
from analysis.results.decisions import Decision, sequential_decisions
from analysis.results.diagnose import component_rows, diagnose
from analysis.results.findings import Findings, find, is_blind
from analysis.results.searches import Arm, read_arms, unfair_cells
from analysis.results.settings import ReportSettings, baseline_of, primary_of
from analysis.statistics.common_seeds import Tries, common_tries, worst_filled
from analysis.statistics.components import Components
from analysis.statistics.family import Family, family_of
from analysis.statistics.summary import Entry, summarise
from analysis.statistics.superiority import probability_better
from analysis.statistics.teacher_trends import Trend, trend

STABLE_PHASES = ("grid", "confirm")


@dataclass(frozen=True, kw_only=True)
class Results:
    """`entries` are the stable cells (phases grid and confirm), those that are compared over the seeds they share.

    `whole` are the same cells over all their seeds. `runs` are all rows by the name of their study, `study_dirs` where
    a study's other files lie (None: published). tries, family: None where there is nothing to compare.
    """

    runs: dict[str, pa.Table]
    study_dirs: dict[str, Path | None]
    real_images: dict[str, RealImages]  # by study, of those that kept what their FIDs are measured against
    settings: ReportSettings
    entries: list[Entry]
    whole: list[Entry]
    methods: list[str]
    tries: Tries | None
    family: Family | None
    chances: dict[tuple[str, str], tuple[float, tuple[float, float]]]  # P(a better than b on a new seed), interval
    trends: list[Trend]
    components: list[tuple[str, Components]]
    diagnostics: list[str]
    findings: Findings
    arms: list[Arm]  # the searches of protocol=tuned and search
    not_compared: list[str]  # why cells are left out of every comparison


def compute(
    study_dirs: Sequence[Path],
    published: str | None,
    seed: int,
    settings: ReportSettings | None = None,
    where: Mapping[str, Any] | None = None,
) -> Results:
    """The results of the studies in `study_dirs` and the paper's table `published`, with resampling from `seed`.

    Raises ValueError where there is nothing to report, where evaluation protocols are mixed, or where the settings
    name a method that is not there.
    """
    settings = settings or ReportSettings()
    directories, runs = read_studies(study_dirs, published, where or {})
    cells = _cells(runs, settings.collapse_fid)
    if not cells and not len(rows_of(runs, ("search",))):
        raise ValueError(
            f"study_dir must hold finished grid, confirm or search members but {_names(study_dirs)} has none"
        )
    generator = np.random.default_rng(seed)
    arms = [arm for name, path in directories.items() if path is not None for arm in read_arms(path, runs[name])]
    unfair = unfair_cells(cells, arms)
    tries, family = _compare(
        [cell for cell in cells if cell.run_ids[0] not in unfair], settings, generator, paired=published is None
    )
    decisions = sequential_decisions(arms)
    family = _without_fixed_tests(family, decisions)
    trends = _trends(cells, tries)
    whole = [(cell, summarise(cell, generator)) for cell in cells]
    entries = _common_entries(whole, tries, generator)
    diagnostics = diagnose(cells, tries, family, settings.collapse_fid)
    findings = find(entries, tries, family, trends, settings=settings, generator=generator, decisions=decisions)
    left_out = [f"{method}: {reason}" for method, reason in tries.left_out] if tries else []
    return Results(
        runs=runs, study_dirs=directories, real_images=_real_images(directories, cells), settings=settings,
        entries=entries, whole=whole, methods=methods_of(cells),
        tries=tries, family=family, chances=_chances(tries, family), trends=trends,
        components=component_rows(cells), diagnostics=diagnostics,
        findings=findings, arms=arms,
        not_compared=[*sorted(set(unfair.values())), *left_out],
    )  # fmt: skip


def read_studies(
    study_dirs: Sequence[Path], published: str | None, where: Mapping[str, Any]
) -> tuple[dict[str, Path | None], dict[str, pa.Table]]:
    """The directories and the rows by the name of the study: its folder's, or the published table's.

    Rows that are not as `where` says are left out.
    """
    directories: dict[str, Path | None] = {published: None} if published else {}
    runs = {published: choose_rows(published_runs(published), where)} if published else {}
    for study_dir in study_dirs:
        table = read_runs(study_dir)
        if not len(table):
            raise ValueError(f"study_dir must hold finished members but {study_dir} has none")
        table = choose_rows(table, where)
        if not len(table):
            raise ValueError(f"where must fit some rows of {study_dir} but {dict(where)} fits none")
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


def _compare(
    cells: Sequence[Cell], settings: ReportSettings, generator: np.random.Generator, *, paired: bool
) -> tuple[Tries | None, Family | None]:
    """The tries that can be compared and the declared comparisons; None where FIDs tell nothing apart."""
    names = {method: next(cell.name for cell in cells if cell.method == method) for method in methods_of(cells)}
    pair, baseline = primary_of(settings, names), baseline_of(settings, names)
    if baseline is None:
        return None, None
    tries = common_tries(cells, reference=list(dict.fromkeys([baseline, *(pair or ())])), paired=paired)
    if tries is None or pair is None or is_blind(tries) or not {baseline, *pair} <= set(tries.methods):
        return tries, None
    family = family_of(
        tries, baseline=baseline, primary=pair, generator=generator, all_pairs=settings.all_pairs,
        margin=settings.margin,
    )  # fmt: skip
    return tries, family


def _without_fixed_tests(family: Family | None, decisions: Sequence[Decision]) -> Family | None:
    """The family without tests of the means that a sequential rule added seeds for: their number was not fixed.

    The rule holds its own error; where it decided nothing, nothing after it counts as supported.
    """
    pairs = {one.pair for one in decisions}
    if family is None or not pairs & {frozenset((one.a, one.b)) for one in family.hypotheses}:
        return family
    nan, is_open = float("nan"), any(one.seeds is None for one in decisions)
    found = [
        replace(one, p=nan, p_adjusted=nan, interval=(nan, nan), supported=False, equivalent=None)
        if one.kind == "mean" and frozenset((one.a, one.b)) in pairs
        else replace(one, supported=one.supported and not is_open)
        for one in family.hypotheses
    ]
    return replace(family, hypotheses=tuple(found), closed_by=None)


def _common_entries(whole: Sequence[Entry], tries: Tries | None, generator: np.random.Generator) -> list[Entry]:
    """The cells over the seeds that are compared; in their means a diverged member has the worst FID of all.

    The std of a cell with a diverged member is not known: filled in, equal worst FIDs would look stable.
    """
    if tries is None:
        return list(whole)
    known = tries.fid[np.isfinite(tries.fid)]
    worst = known.max() if len(known) else np.nan
    found = []
    for cell, summary in whole:
        if cell.method not in tries.methods or cell.teacher not in (*tries.teachers, None):
            found.append((cell, summary))
            continue
        own = only_seeds(cell, tries.seeds) if tries.paired else cell
        if len(own.seeds) == len(cell.seeds) and not own.diverged.any():
            found.append((cell, summary))
            continue
        filled = summarise(replace(own, fid=np.where(np.isnan(own.fid), worst, own.fid)), generator)
        if own.diverged.any():
            nan = float("nan")
            filled = replace(filled, fid_std=nan, fid_cv=nan, fid_std_interval=(nan, nan), fid_std_bootstrap=(nan, nan))
        found.append((own, replace(filled, num_fid=int((~own.diverged).sum()))))
    return found


def only_seeds(cell: Cell, seeds: Sequence[int]) -> Cell:
    """The cell with the members of these seeds alone."""
    kept = np.flatnonzero(np.isin(cell.seeds, seeds))
    arrays = {
        name: getattr(cell, name)[kept]
        for name in (
            *("seeds", "fid", "fid_by_noise_seed", "kid", "precision", "recall", "distance", "device_seconds"),
            *("collapsed", "diverged"),
        )
    }
    return replace(cell, run_ids=tuple(cell.run_ids[index] for index in kept), **arrays)


def _trends(cells: Sequence[Cell], tries: Tries | None) -> list[Trend]:
    """The trend over the capacity gap of every method that learns from a teacher."""
    if tries is None or is_blind(tries):
        return []
    guided = {cell.method for cell in cells if cell.teacher is not None}
    filled = worst_filled(tries.fid)
    found = [
        trend(filled[place], tries.gaps, method=method, teachers=tries.teachers, axis="capacity gap",
              shared_seeds=tries.paired)
        for place, method in enumerate(tries.methods) if method in guided
    ]  # fmt: skip
    return [one for one in found if one is not None]


def _chances(tries: Tries | None, family: Family | None) -> dict[tuple[str, str], tuple[float, tuple[float, float]]]:
    if tries is None or family is None:
        return {}
    place = {method: index for index, method in enumerate(tries.methods)}
    pairs = dict.fromkeys((one.a, one.b) for one in family.hypotheses if one.teacher is None)
    return {(a, b): probability_better(tries.fid[place[a]], tries.fid[place[b]], paired=tries.paired) for a, b in pairs}


def _cells(runs: Mapping[str, pa.Table], collapse_fid: float | None) -> list[Cell]:
    several = len(runs) > 1
    cells = [
        cell
        for name, table in runs.items()
        for cell in group_cells(
            rows_of({name: table}, STABLE_PHASES), study=name if several else None, collapse_fid=collapse_fid
        )
    ]
    check_one_protocol(cells)
    return cells


def _real_images(directories: Mapping[str, Path | None], cells: Sequence[Cell]) -> dict[str, RealImages]:
    """All cells have one protocol, so the first says which real images are meant."""
    paths = {name: path for name, path in directories.items() if path is not None and cells}
    found = {name: read_real_images(path, cells[0].member) for name, path in paths.items()}
    return {name: one for name, one in found.items() if one is not None}


def _names(study_dirs: Sequence[Path]) -> str:
    return ", ".join(map(str, study_dirs))
