"""The training state of a pack on disk, from which it goes on after a worker, a driver or the sweep was killed.

    <folder>/step-00000100/     state.safetensors   tensors of every member, under <train_id>/<name>, and of streams
                                members.json        steps taken, where; curve, seconds and marks of every member
                                complete.json       sha256 of the two under a seal, written last
    <folder>/most_members.json  how many members are trained at once, where not all are: they did not fit the memory
    <folder>/in_training.json   the run_ids of those that are, then

There is no generator in it: all randomness follows from (seed, step). A member's state is keyed by train_id, so a
checkpoint serves whichever of its members are still to be trained. The two newest are kept; a damaged one is passed
over.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from storage import (
    check_files,
    digests,
    local_copy,
    new_file,
    new_folder,
    read_sealed,
    remove_folder,
    remove_temporaries,
    sealed,
    whole_folders,
)
from trainables.data.streams import Stream
from trainables.ranks import Ranks
from trainables.training.trainee import Trainee

_TENSORS, _MEMBERS, COMPLETE = "state.safetensors", "members.json", "complete.json"
_MOST_MEMBERS, _IN_TRAINING = "most_members.json", "in_training.json"
_NUM_KEPT = 2


@dataclass(frozen=True)
class Snapshot:
    """A pack's training state after `steps` steps, in host memory, apart from what goes on changing."""

    steps: int
    tensors: Mapping[str, torch.Tensor]
    members: str  # JSON: steps taken, where; curve, seconds and marks of every member


@dataclass(frozen=True)
class Checkpoints:
    """Where a pack keeps its training state, and after how many seconds each (None: never; 0: after every step).

    written(checkpoint, steps) is called in every rank after rank 0 wrote one.
    """

    folder: Path
    every_seconds: float | None
    written: Callable[[Path, int], None] = lambda _checkpoint, _steps: None

    def keep(self, snapshot: Snapshot) -> None:
        """Writes the state, and removes all but the two newest."""
        _write(checkpoint_path(self.folder, snapshot.steps), snapshot)
        for old in _newest_first(self.folder)[_NUM_KEPT:]:
            remove_folder(old)

    def restore(
        self, trainees: Sequence[Trainee], streams: Sequence[Stream], ranks: Ranks
    ) -> tuple[int, dict[str, float]]:
        """Puts all back to the newest complete checkpoint that holds every trainee; without one they stay new.

        It must come from as many ranks on the same kind of device, or the end would not be that of either. Returns the
        steps that they have taken and the seconds that each has used, by train_id. What cannot be used is removed, so
        that it is not in the way of what comes.
        """
        steps = 0
        if ranks.rank == 0:
            remove_temporaries(self.folder)
            wanted = {trainee.member.train_id for trainee in trainees}
            for checkpoint in _newest_first(self.folder):
                if is_complete(checkpoint) and _holds(checkpoint, wanted, _conditions(trainees, ranks)):
                    steps = _steps(checkpoint)
                    break
                remove_folder(checkpoint)
        steps = ranks.from_first(steps, trainees[0].device)
        if steps == 0:
            return 0, {trainee.member.train_id: 0.0 for trainee in trainees}
        return steps, _load(checkpoint_path(self.folder, steps), trainees, streams)

    def remove(self) -> None:
        remove_folder(self.folder)

    def most_members(self) -> int | None:
        """How many members fit the memory at once, where that was noted."""
        path = self.folder / _MOST_MEMBERS
        return int(json.loads(path.read_text())) if path.exists() else None

    def note_most_members(self, most: int) -> None:
        with new_file(self.folder / _MOST_MEMBERS) as file:
            file.write(json.dumps(most).encode())

    def in_training(self) -> list[str]:
        """The run_ids of the part of a divided pack that is, or was, trained; none of a pack that is not divided."""
        path = self.folder / _IN_TRAINING
        return list(json.loads(path.read_text())) if path.exists() else []

    def note_in_training(self, run_ids: Sequence[str]) -> None:
        with new_file(self.folder / _IN_TRAINING) as file:
            file.write(json.dumps(list(run_ids)).encode())


def snapshot(
    trainees: Sequence[Trainee],
    streams: Sequence[Stream],
    seconds: Mapping[str, float],
    *,
    steps: int,
    ranks: Ranks,
) -> Snapshot:
    """The state after `steps` steps. seconds: that each trainee has used, by train_id."""
    tensors = _stream_tensors(streams)
    members: dict[str, dict[str, Any]] = {}
    for trainee in trainees:
        train_id = trainee.member.train_id
        tensors |= {f"{train_id}/{name}": tensor for name, tensor in trainee.tensors().items()}
        members[train_id] = {"run_id": trainee.member.run_id, "seconds": seconds[train_id], **trainee.marks()}
    facts = {"steps": steps, **_conditions(trainees, ranks), "members": members}
    copies = {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}
    return Snapshot(steps, copies, json.dumps(facts))


def is_complete(checkpoint: Path) -> bool:
    """Whether a checkpoint has its marker, and its files are those that the marker was written for."""
    try:
        check_files(checkpoint, read_sealed(checkpoint.name, checkpoint / COMPLETE)["files"])
    except (OSError, ValueError, KeyError, AttributeError):
        return False
    return True


def newest_steps(folder: Path) -> int:
    """The steps of the newest checkpoint of a pack's folder, damaged or not; 0 without one."""
    return max(map(_steps, whole_folders(folder, COMPLETE, "step-*")), default=0)


def run_ids(folder: Path) -> set[str] | None:
    """The runs whose state is in the newest complete checkpoint of a pack's folder; None without one."""
    for checkpoint in _newest_first(folder):
        if is_complete(checkpoint):
            return {member["run_id"] for member in _read(checkpoint)["members"].values()}
    return None


def _conditions(trainees: Sequence[Trainee], ranks: Ranks) -> dict[str, Any]:
    """What the bits of a training hang on beside its members."""
    fused = any(trainee.fused for trainee in trainees)
    return {
        "world_size": ranks.world_size,
        "device": trainees[0].device.type,
        "torch": torch.__version__,
        "fused": fused,
    }


def _holds(checkpoint: Path, train_ids: set[str], conditions: Mapping[str, Any]) -> bool:
    found = _read(checkpoint)
    return train_ids <= set(found["members"]) and conditions.items() <= found.items()


def _stream_tensors(streams: Sequence[Stream]) -> dict[str, torch.Tensor]:
    return {f"stream-{stream.seed}/{name}": tensor for stream in streams for name, tensor in stream.tensors().items()}


def _write(checkpoint: Path, snapshot: Snapshot) -> None:
    with new_folder(checkpoint, COMPLETE) as folder:
        safetensors.torch.save_file(dict(snapshot.tensors), folder / _TENSORS)
        (folder / _MEMBERS).write_text(snapshot.members)
        (folder / COMPLETE).write_bytes(sealed(checkpoint.name, {"files": digests(folder)}))


def _load(checkpoint: Path, trainees: Sequence[Trainee], streams: Sequence[Stream]) -> dict[str, float]:
    members = _read(checkpoint)["members"]
    seconds = {}
    with local_copy(checkpoint / _TENSORS) as path:
        tensors = safetensors.torch.load_file(path)
    for trainee in trainees:
        train_id = trainee.member.train_id
        seconds[train_id] = members[train_id]["seconds"]
        trainee.restore(_under(train_id, tensors), members[train_id])
    for stream in streams:
        stream.restore(_under(f"stream-{stream.seed}", tensors))
    return seconds


def _under(name: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    prefix = f"{name}/"
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _read(checkpoint: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((checkpoint / _MEMBERS).read_text())
    return found


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), reverse=True)


def checkpoint_path(folder: Path, steps: int) -> Path:
    return folder / f"step-{steps:08d}"


def _steps(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step-"))
