"""What checkpoints cost where they are as frequent as they may be: seconds of copying and writing over training."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from study.benchmarks.measuring import Options, Result
from study.benchmarks.pack import packs_of_all_methods
from trainables.data import load_data
from trainables.models import build_model
from trainables.ranks import Ranks
from trainables.specs import Member
from trainables.training.checkpoints import Checkpoints, Snapshot
from trainables.training.pack import Progress, train_pack

EVERY_SECONDS = 0.5  # where 2% of the time allows it; by default it is ten minutes, which these packs do not last


@dataclass(frozen=True)
class _Timed(Checkpoints):
    """Notes the seconds and bytes of every checkpoint."""

    taken: list[tuple[float, int]] = field(default_factory=list)

    def keep(self, snapshot: Snapshot) -> None:
        started = time.perf_counter()
        super().keep(snapshot)
        self.taken.append((time.perf_counter() - started, sum(one.nbytes for one in snapshot.tensors.values())))


def run(options: Options) -> Result:
    """`checkpoint_share`: over the packs of one seed of all methods (pack.py).

    Serialising, sha256, fsync and renames are in it, all of them in a thread beside the training; what Ray Train takes
    to hear of a checkpoint is not.
    """
    rows = [_measured(pack, options) for pack in packs_of_all_methods()]
    total = sum(row["checkpoints_s"] for row in rows) / sum(row["training_s"] for row in rows)
    return Result(rows, {"checkpoint_share": total, "checkpoint_share_of_the_largest_teacher": rows[-1]["share"]})


def _measured(pack: Sequence[Member], options: Options) -> dict[str, Any]:
    """The median run by its share of `repeats`."""
    spec = pack[0].teacher
    assert spec is not None
    data = load_data(pack[0].data)
    teacher = build_model(spec.model, data.shape, seed=0).to(options.device).eval().requires_grad_(False)
    rows: list[dict[str, Any]] = []
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as folder:
            checkpoints = _Timed(Path(folder, "pack"), EVERY_SECONDS)
            started = time.perf_counter()
            train_pack(
                pack,
                teacher,
                data,
                initial=Path(),
                device=options.device,
                ranks=Ranks(),
                progress=Progress(),
                checkpoints=checkpoints,
            )
            training = time.perf_counter() - started
        spent = sum(seconds for seconds, _ in checkpoints.taken)
        rows.append(
            {
                "teacher": spec.name,
                "members": len(pack),
                "steps": pack[0].train.steps,
                "every_seconds": EVERY_SECONDS,
                "num_checkpoints": len(checkpoints.taken),
                "mb": max((size for _, size in checkpoints.taken), default=0) / 1e6,
                "training_s": training,
                "checkpoints_s": spent,
                "share": spent / training,
            }
        )
    return sorted(rows, key=lambda row: row["share"])[len(rows) // 2]
