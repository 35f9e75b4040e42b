"""PNG and NPZ files that carry the seal of their content and place, so that damage and exchange are noticed.

A PNG has it as a text chunk, an NPZ as the comment of its archive. The place is the file's name in its folder's:
`samples/<run_id>.png`. A file without a seal is not one that was written here.
"""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from storage import SEAL, new_file, seal, source


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Writes uint8 pixels (H, W, 3) as a sealed PNG, whole or not at all."""
    marks = PngInfo()
    marks.add_text(SEAL, seal(_place(path), _content({"pixels": pixels})))
    with new_file(path) as file:
        Image.fromarray(pixels).save(file, format="PNG", pnginfo=marks)


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes the arrays as a sealed, compressed NPZ, whole or not at all."""
    content = io.BytesIO()
    np.savez_compressed(content, **dict(arrays))  # type: ignore[arg-type]
    with zipfile.ZipFile(content, "a") as archive:
        archive.comment = seal(_place(path), _content(arrays)).encode()
    with new_file(path) as file:
        file.write(content.getvalue())


def check_png(path: Path) -> None:
    """Raises ValueError, or what PIL raises, where the file is not the image that was written here."""
    with Image.open(source(path), formats=["PNG"]) as image:
        image.load()
        found = image.info.get(SEAL)
        _require(path, found, {"pixels": np.asarray(image)})


def check_npz(path: Path) -> None:
    """Raises ValueError, or what numpy raises, where the file does not hold the arrays that were written here."""
    with zipfile.ZipFile(source(path)) as archive:
        if broken := archive.testzip():
            raise ValueError(f"{broken} in it is damaged")
        found = archive.comment.decode(errors="replace")
    with np.load(source(path), allow_pickle=False) as arrays:
        _require(path, found, {name: arrays[name] for name in arrays.files})


def _require(path: Path, found: str | None, arrays: Mapping[str, np.ndarray]) -> None:
    if found != seal(_place(path), _content(arrays)):
        raise ValueError(f"its content is not what was written as {_place(path)}")


def _place(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _content(arrays: Mapping[str, np.ndarray]) -> bytes:
    parts = [(f"{name} {array.dtype.str} {array.shape}", array.tobytes()) for name, array in sorted(arrays.items())]
    return b"".join(head.encode() + b"\0" + body for head, body in parts)
