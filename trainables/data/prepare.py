"""Images of any kind -> one uint8 array on disk, made once on a node and memory-mapped by all of its processes."""

import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from storage import made_once, new_folder, own_folder
from trainables.checks import require_text

Load = Callable[[], Image.Image]


def prepared(
    name: str, cache: str | None, num_images: int, size: int, images: Callable[[], Iterable[Image.Image]]
) -> torch.Tensor:
    """The images as a memory-mapped uint8 tensor (N, 3, size, size); images() is called where they are not prepared.

    name: a content id of what the images are and how they are prepared. cache: the folder, by default one of this user
    in the system's temporary folder.
    """
    folder = (Path(require_text("data.cache", cache, "null or a path")) if cache else own_folder()) / name
    shape = (num_images, 3, size, size)
    try:
        with made_once(folder) as missing:
            if missing:
                _prepare(folder, shape, images())
    except OSError as error:
        raise ValueError(f"data.cache: {folder} cannot be written: {error.strerror}") from error
    try:
        array = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ValueError(f"data.cache: {folder} is damaged; remove it to prepare it again: {error}") from error
    if array.shape != shape or array.dtype != np.uint8:
        raise ValueError(
            f"data.cache: {folder} does not hold {num_images} images of {size}x{size}; remove it to prepare it again"
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # nobody writes to it
        return torch.from_numpy(array)


def _prepare(folder: Path, shape: tuple[int, ...], images: Iterable[Image.Image]) -> None:
    with new_folder(folder) as temporary:
        array = np.lib.format.open_memmap(temporary / "images.npy", mode="w+", dtype=np.uint8, shape=shape)
        for index, image in enumerate(images):
            array[index] = np.asarray(image).transpose(2, 0, 1)
        array.flush()


def fit(image: Image.Image, size: int, crop: int | None) -> Image.Image:
    """RGB, the square in the middle (crop wide; null: as wide as fits), resized to size x size with antialiasing."""
    image = image.convert("RGB")
    side = min(*image.size, crop or max(image.size))
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    return square if side == size else square.resize((size, size), Image.Resampling.BICUBIC)


def decode(path: Path) -> Image.Image:
    """Raises ValueError naming a file that holds no image, or one that would fill the memory."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"data.path: {path} cannot be read as an image: {error}") from error
