"""One image, as it is meant to be seen -> 8-bit grey or RGB, cut and resized as the settings say."""

import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

Colour = int | tuple[int, int, int]  # a grey, or red, green and blue; 0 to 255
RESAMPLING = {name.lower(): Image.Resampling[name] for name in ("BICUBIC", "BILINEAR", "LANCZOS", "BOX", "NEAREST")}
_GREY = ("1", "L", "LA", "La")


def read_image(source: Path | BytesIO, what: str, background: Colour) -> tuple[Image.Image, bool]:
    """The first frame, L or RGB: turned as EXIF says, on the background where it is transparent; are there others?

    what: names it in errors. Raises ValueError for what holds no image, one that would fill the memory, and one whose
    numbers have no known range.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of metadata that does not matter
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(source) as image:
                # Phones keep a preview beside a JPEG, which is no other frame.
                has_others = image.format not in ("JPEG", "MPO") and getattr(image, "is_animated", False)
                image.load()
                return _opaque(ImageOps.exif_transpose(_eight_bits(image)), background), has_others
    except Exception as error:  # decoders fail in many ways
        raise ValueError(f"{what} cannot be read as an image: {error or type(error).__name__}") from error


def fit(
    image: Image.Image,
    size: int,
    *,
    crop: int | None = None,
    crop_box: tuple[int, int, int, int] | None = None,
    resampling: str = "bicubic",
) -> Image.Image:
    """The square in the middle (crop wide; null: as wide as fits), or the box, resized to size x size, antialiased.

    crop_box: left, top, right and bottom in pixels, right and bottom excluded; it lies in the image.
    """
    width, height = image.size
    if crop_box is not None:
        square = image.crop(crop_box)
    else:
        side = min(width, height, crop or max(width, height))
        left, top = (width - side) // 2, (height - side) // 2
        square = image.crop((left, top, left + side, top + side))
    return square if square.size == (size, size) else square.resize((size, size), RESAMPLING[resampling])


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit greys scaled to 8 bits, with their EXIF orientation and transparency."""
    if image.mode in ("F", "I") and image.format not in ("PNG", "PPM"):
        kind = "32-bit" if image.mode == "I" else "floating-point"
        raise ValueError(f"its pixels are {kind} numbers, whose range is not known; save it with 8 or 16 bits")
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image)
    grey = Image.fromarray(np.rint(values.astype(np.float64) / 257).clip(0, 255).astype(np.uint8))
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        alpha = np.where(values == transparent, 0, 255).astype(np.uint8)
        grey = Image.merge("LA", (grey, Image.fromarray(alpha)))
    grey.getexif().load(image.getexif().tobytes())
    return grey


def _opaque(image: Image.Image, background: Colour) -> Image.Image:
    is_grey = image.mode in _GREY
    if not image.has_transparency_data:
        return image.convert("L" if is_grey else "RGB")
    colour = (background,) * 3 if isinstance(background, int) else background
    canvas = Image.new("RGBA", image.size, (*colour, 255))
    canvas.alpha_composite(image.convert("RGBA"))
    return canvas.convert("L" if is_grey and isinstance(background, int) else "RGB")
