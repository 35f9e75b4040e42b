"""What the checkpoints of the default study cost: seconds in writing them over seconds of training."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from study.benchmarks.measuring import Options, Result
from study.benchmarks.pack import default_packs
from trainables.data import load_data
from trainables.data.streams import Stream
from trainables.models import build_model
from trainables.ranks import Ranks
from trainables.specs import Member
from trainables.training.checkpoints import Checkpoints
from trainables.training.pack import Progress, train_pack
from trainables.training.trainee import Trainee


@dataclass(frozen=True)
class _Timed(Checkpoints):
    """Notes the seconds and bytes of every checkpoint."""

    taken: list[tuple[float, int]] = field(default_factory=list)

    def save(
        self,
        trainees: Sequence[Trainee],
        streams: Sequence[Stream],
        seconds: Mapping[str, float],
        *,
        steps: int,
        ranks: Ranks,
    ) -> None:
        started = time.perf_counter()
        super().save(trainees, streams, seconds, steps=steps, ranks=ranks)
        taken = time.perf_counter() - started
        newest = max(self.folder.glob("step-*"), default=None)
        if newest is not None and newest.name.endswith(f"-{steps:08d}"):
            self.taken.append((taken, sum(path.stat().st_size for path in newest.iterdir())))


def run(options: Options) -> Result:
    """`checkpoint_share`: over the default study's packs of one seed, with its own budget and its own frequency.

    Serialising, sha256, fsync and renames are in it; what Ray Train takes to hear of a checkpoint is not.
    """
    from study.config.command_line import compose
    from study.config.parse import study_config

    every_steps = study_config(compose("config", [])).checkpoint_every_steps
    rows = [_measured(pack, every_steps, options) for pack in default_packs()]
    total = sum(row["checkpoints_s"] for row in rows) / sum(row["training_s"] for row in rows)
    return Result(rows, {"checkpoint_share": total, "checkpoint_share_of_the_largest_teacher": rows[-1]["share"]})


def _measured(pack: Sequence[Member], every_steps: int | None, options: Options) -> dict[str, Any]:
    """The median run by its share of `repeats`."""
    spec = pack[0].teacher
    assert spec is not None
    data = load_data(pack[0].data)
    teacher = build_model(spec.model, data.shape, seed=0).to(options.device).eval().requires_grad_(False)
    rows: list[dict[str, Any]] = []
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as folder:
            checkpoints = _Timed(Path(folder, "pack"), every_steps)
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
                "every_steps": every_steps,
                "num_checkpoints": len(checkpoints.taken),
                "mb": max((size for _, size in checkpoints.taken), default=0) / 1e6,
                "training_s": training,
                "checkpoints_s": spent,
                "share": spent / training,
            }
        )
    return sorted(rows, key=lambda row: row["share"])[len(rows) // 2]
