"""Files that an evaluation depends on, by their content: ids hash it, wherever the files are."""

import hashlib
from functools import cache
from pathlib import Path

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


def file_digest(key: str, path: str) -> str:
    """sha256 of a file; read once as long as it does not change. Raises ValueError, naming the key, without one."""
    try:
        facts = Path(path).stat()
        return _digest(path, facts.st_size, facts.st_mtime_ns)
    except OSError as error:
        raise ValueError(f"evaluation.{key} must be null or the path of a file but got {path}") from error


def is_statistics(reference: str) -> bool:
    """Whether a reference is a saved mean and covariance, and not a folder of images."""
    return Path(reference).suffix == ".npz"


def reference_digest(reference: str) -> str:
    """Of the statistics' file, or of the names and sizes of a folder's images. Raises ValueError without either."""
    if is_statistics(reference):
        return file_digest("reference", reference)
    root = Path(reference)
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() in IMAGE_ENDINGS)
    if not files:
        raise ValueError(f"evaluation.reference must be a folder of images or an .npz file but got {reference}")
    listing = "\n".join(f"{path.relative_to(root).as_posix()} {path.stat().st_size}" for path in files)
    return hashlib.sha256(listing.encode()).hexdigest()


@cache
def _digest(path: str, _size: int, _modified: int) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
