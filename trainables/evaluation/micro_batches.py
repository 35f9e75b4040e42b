"""How many images go through a model, and latents through a decoder, at once."""

from __future__ import annotations

import math


def micro_batch_size(image_shape: tuple[int, int, int]) -> int:
    """How many images the model always sees at once; it follows from the image's size and from nothing else.

    Convolution kernels are chosen by the batch size, and their results differ in the last bits: on the CPU, batches of
    7 and of 64 gave images 7e-7 apart, which flipped the rounding of 3 of 65,536 bytes. Therefore image i always goes
    through the model as number i % M of micro-batch i // M, between the same neighbours; those that were not asked for
    are sampled as padding and dropped. 256 is the quickest for 8x8 images on one CPU thread; large images fill a device
    with 64.
    """
    return 256 if math.prod(image_shape) <= 1024 else 64


def decode_batch_size(latent_shape: tuple[int, int, int]) -> int:
    """How many latents are decoded at once, at most 64: 4 of 64x64, whose images of 512x512 take 2 GB."""
    return max(1, min(64, 2**14 // math.prod(latent_shape[1:])))
