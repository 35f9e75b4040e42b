"""A folder of image files, e.g. CelebA or LSUN."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from trainables.checks import require_whole
from trainables.data.images import ImageSource
from trainables.data.listing import ENDINGS, File, Listing, list_images, split_ending
from trainables.data.partition import chosen_names, find_partition
from trainables.data.pixels import read_image
from trainables.data.preparing.cache import Prepared, prepared
from trainables.data.preparing.decode import Undecoded
from trainables.seeds import derived_generator


@dataclass(frozen=True, kw_only=True)
class Folder(ImageSource):
    """All images under `path`, sorted by name.

    classes: the sub-folders, sorted, are classes. limit: only so many images (of each class), drawn by limit_seed.
    partition: only those that a list of names has, or a file of names, or one of names and numbers (CelebA's
    list_eval_partition.txt) with the number split_value; a relative path is looked for beside data.path and in it.
    """

    classes: bool = False
    limit: int | None = None
    limit_seed: int = 0
    partition: str | tuple[str, ...] | None = None
    split_value: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_bool("classes")
        if self.limit is not None:
            require_whole("data.limit", self.limit, 1)
        require_whole("data.limit_seed", self.limit_seed, 0)
        require_whole("data.split_value", self.split_value, 0)
        if isinstance(self.partition, list | tuple):
            object.__setattr__(self, "partition", tuple(self.partition))  # lists cannot be hashed
        if self.partition is not None and not (
            self.partition if isinstance(self.partition, str) else all(isinstance(one, str) for one in self.partition)
        ):
            raise ValueError(f"data.partition must be null, a path or a list of names but got {self.partition!r}")

    def _settings(self) -> dict[str, Any]:
        """Which files the partition names shows in the images."""
        return {key: value for key, value in super()._settings().items() if key != "partition"}

    def _prepare(self) -> tuple[Prepared, list[int] | None, int | None]:
        listing = self._listing()
        names = [file.name for file in listing.files]
        source = Undecoded(names, self._decode, self.size, self.channels or 3, listing.describe_left_out())
        found = prepared(self._key(listing.stamp()), self.cache, source, prepare=self.prepare)
        if not self.classes:
            return found, None, None
        known = sorted({file.parts[0] for file in listing.files})
        numbers = {name: number for number, name in enumerate(known)}
        return found, [numbers[file.parts[0]] for file in listing.files], len(known)

    def _decode(self, name: str) -> tuple[Image.Image, bool]:
        path = Path(self.path) / name
        what = os.fsencode(path).decode(errors="backslashreplace")  # a name need not be UTF-8
        image, has_others = read_image(path, f"data.path: {what}", self.background)
        return self._fit(image, what), has_others

    def _listing(self) -> Listing:
        """The files that are asked for. Raises ValueError where there are none."""
        if not Path(self.path).is_dir():
            raise ValueError(f"data.path must be a folder of images but got {self.path}")
        listing = list_images(Path(self.path))
        if self.partition is not None:
            listing = self._partitioned(listing)
        if self.classes:
            beside = [file for file in listing.files if len(file.parts) == 1]
            listing.left_out.update({"beside the folders of the classes": len(beside)} if beside else {})
            listing = replace(listing, files=[file for file in listing.files if len(file.parts) > 1])
        if not listing.files:
            where = " in sub-folders, its classes," if self.classes else ""
            said = listing.describe_left_out().replace("data.path: ", "; ")
            raise ValueError(f"data.path must hold images{where} ({', '.join(ENDINGS)}) but {self.path} has none{said}")
        return replace(listing, files=self._limited(listing.files))

    def _partitioned(self, listing: Listing) -> Listing:
        """The files by the names, or by the stems, that the partition has. Raises ValueError for a name without one."""
        if isinstance(self.partition, str):
            path = find_partition(self.partition, Path(self.path))
            wanted, where = chosen_names(path, self.split_value), str(path)
        else:
            wanted, where = set(self.partition or ()), "the list"
        by_stem = {split_ending(name)[0]: name for name in wanted}  # CelebA comes as PNG too
        kept, missing = [], set(wanted)
        for file in listing.files:
            last = file.parts[-1]
            of_stem = by_stem.get(split_ending(last)[0])
            said = next((name for name in (file.name, last) if name in wanted), of_stem)
            if said is not None:
                kept.append(file)
                missing.discard(said)
        if missing:
            raise ValueError(
                f"data.partition: {len(missing)} of the {len(wanted)} names of {where}, {min(missing)} first, are not"
                f" among the images in {self.path}"
            )
        why = "of no or another split in data.partition" if isinstance(self.partition, str) else "not in data.partition"
        listing.left_out.update({why: len(listing.files) - len(kept)})
        return replace(listing, files=kept)

    def _limited(self, files: list[File]) -> list[File]:
        import torch

        if self.limit is None:
            return files
        groups: dict[str, list[int]] = {}
        for index, file in enumerate(files):
            groups.setdefault(file.parts[0] if self.classes else "", []).append(index)
        kept: list[int] = []
        for name, members in groups.items():
            order = torch.randperm(len(members), generator=derived_generator(self.limit_seed, "limit", ascii(name)))
            kept += [members[position] for position in order[: self.limit].tolist()]
        return [files[index] for index in sorted(kept)]
