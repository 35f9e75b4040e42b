"""python -m analysis.statistics.covariances study_dir: the seed effects of a finished study.

Power and calibration are computed from them. Prints what analysis/published/covariances.json holds
of the reference study.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np

from analysis.records.cells import FloatArray, group_cells, methods_of
from analysis.records.rows import read_runs
from analysis.statistics.common_seeds import common_tries, worst_filled
from analysis.statistics.simulated import SeedEffects

HARD = 5.0  # times the median deviation from the median: a seed that is further off for half of all cells is hard


def seed_effects(fid: FloatArray) -> SeedEffects:
    """The effects in `fid` (M, T, n) of M methods at T teachers; M >= 2, T >= 2 and at least three easy seeds.

    Shares are mean correlations over easy seeds: of pairs of cells that share neither method nor teacher (the seed),
    and what is added by the same method or the same teacher, at least 0.
    """
    fid = worst_filled(fid)
    off = fid - np.median(fid, axis=-1, keepdims=True)
    typical = np.median(np.abs(off), axis=-1, keepdims=True)
    hard = np.median(off / np.where(typical > 0, typical, 1.0), axis=(0, 1)) > HARD
    easy = fid[..., ~hard]
    if min(fid.shape[:2]) < 2 or easy.shape[-1] < 3:
        raise ValueError(f"study_dir must hold two methods, two teachers and three easy seeds but has {fid.shape[0]}, "
                         f"{fid.shape[1]} and {easy.shape[-1]}")  # fmt: skip
    shifts = fid[..., hard] - easy.mean(axis=-1, keepdims=True)
    stds = easy.std(axis=-1, ddof=1)
    unit = (easy - easy.mean(axis=-1, keepdims=True)) / np.where(stds > 0, stds, 1.0)[..., None]
    both = np.einsum("itn,jun->ijtu", unit, unit) / (easy.shape[-1] - 1)
    method, teacher = np.eye(fid.shape[0], dtype=bool)[:, :, None, None], np.eye(fid.shape[1], dtype=bool)
    seed = max(float(both[~method & ~teacher].mean()), 0.0)
    by_method = shifts.mean(axis=(1, 2)) if hard.any() else np.zeros(1)
    return SeedEffects(
        std=float(stds.mean()), share_seed=seed, share_method=max(float(both[method & ~teacher].mean()) - seed, 0.0),
        share_teacher=max(float(both[~method & teacher].mean()) - seed, 0.0), hard_rate=float(hard.mean()),
        hard_low=float(by_method.min()), hard_high=float(by_method.max()),
    )  # fmt: skip


def main(argv: list[str]) -> int:
    """Prints the effects of one study directory as JSON; 2 after a line that says what the directory lacks."""
    parser = argparse.ArgumentParser(prog="python -m analysis.statistics.covariances", description=__doc__)
    parser.add_argument("study_dir", type=Path)
    try:
        print(json.dumps(asdict(_study_effects(parser.parse_args(argv).study_dir)), indent=2))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _study_effects(study_dir: Path) -> SeedEffects:
    cells = [cell for cell in group_cells(read_runs(study_dir)) if cell.phase == "grid" and cell.teacher is not None]
    tries = common_tries(cells, reference=methods_of(cells))
    if tries is None:
        raise ValueError("study_dir must hold grid members of two methods with the same teachers and seeds")
    return seed_effects(tries.fid)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
