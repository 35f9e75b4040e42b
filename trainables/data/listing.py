"""Which files of a folder are its images, and which are left out and why."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

ENDINGS = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif", ".ppm", ".pgm")


@dataclass(frozen=True)
class File:
    """An image file: its path below the root, and what changes when its content does."""

    name: str
    state: tuple[int, int, int]  # bytes, times of the last change of content and of anything, in ns

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(self.name.split("/"))


@dataclass(frozen=True)
class Listing:
    """The image files below a root, sorted by path. left_out: why a file is not among them -> how many."""

    root: Path
    files: list[File]
    left_out: Counter[str] = field(default_factory=Counter)

    def stamp(self) -> str:
        """sha256 of names, sizes and times: another one where a file may have changed."""
        return _stamp(self.files)

    def describe_left_out(self) -> str:
        """One line; empty where nothing is left out."""
        number = sum(self.left_out.values())
        if not number:
            return ""
        reasons = ", ".join(f"{count} {why}" for why, count in self.left_out.most_common())
        return f"data.path: {number} of {number + len(self.files)} files in {self.root} are left out: {reasons}"


def list_images(root: Path) -> Listing:
    """One pass over the folder, through links to files and folders; what is hidden is left out.

    Raises ValueError naming a folder that cannot be read.
    """
    left_out: Counter[str] = Counter()
    files = sorted(_walk(root, "", (os.path.realpath(root),), left_out), key=lambda file: file.parts)
    return Listing(root, files, left_out)


def _walk(folder: Path, prefix: str, within: tuple[str, ...], left_out: Counter[str]) -> Iterator[File]:
    """within: the real paths of the folders it lies in, by which a link to one of them is known."""
    try:
        with os.scandir(folder) as entries:
            found = list(entries)
    except OSError as error:
        raise ValueError(f"data.path: {folder} cannot be read: {error.strerror}") from error
    for entry in found:
        if entry.name.startswith("."):
            left_out["hidden"] += 1
        elif entry.is_dir():
            real = os.path.realpath(entry.path)
            if real in within:
                left_out["links to a folder that they lie in"] += 1
            else:
                yield from _walk(Path(entry.path), f"{prefix}{entry.name}/", (*within, real), left_out)
        elif not entry.is_file():
            left_out["links to nothing" if entry.is_symlink() else "no files"] += 1
        elif (ending := split_ending(entry.name)[1].lower()) not in ENDINGS:
            left_out[f"of a kind that is not read ({ending or 'no ending'})"] += 1
        else:
            yield _file(f"{prefix}{entry.name}", entry.stat())


def split_ending(name: str) -> tuple[str, str]:
    """The last part of a path: what is before its last dot, and what begins there; pathlib takes many times as long."""
    last = name.rpartition("/")[2]
    dot = last.rfind(".")
    return (last[:dot], last[dot:]) if dot > 0 else (last, "")


def stamp_of(folder: Path) -> str:
    """The stamp of all files of a folder, whatever they are."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return _stamp([_file(path.relative_to(folder).as_posix(), path.stat()) for path in paths])


def _file(name: str, stat: os.stat_result) -> File:
    return File(name, (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))


def _stamp(files: Iterable[File]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(os.fsencode(file.name) + b"\0" + repr(file.state).encode())
    return digest.hexdigest()
