"""Images from a trained noise predictor, each addressed by its own seed.

Image i starts from the noise of generator (noise_seed, i) and from nothing else, so every member of a study is sampled
from the same noise, and neither the batch size nor the number of workers changes an image.

Shapes: N images, M images of one micro-batch, C channels, H height, W width.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from diffusers import DDIMScheduler, DDPMScheduler
from torch import nn

from trainables.diffusion import NUM_TIMESTEPS, noise_schedule
from trainables.seeds import derived_generator

SAMPLERS = {"ddim": DDIMScheduler, "ddpm": DDPMScheduler}


def sample_images(
    model: nn.Module,
    *,
    num_images: int,
    image_shape: tuple[int, int, int],
    sampler: str = "ddim",
    sampler_steps: int,
    noise_seed: int,
    batch_size: int,
    first_image: int = 0,
    device: torch.device | str | None = None,
) -> torch.Tensor:
    """Images first_image .. first_image + num_images - 1 of the model: uint8 (N, C, H, W) on the CPU, 0 .. 255.

    `model(x, t).sample` predicts the noise of x. `ddim` is Song et al. 2021 with eta 0, `ddpm` is ancestral sampling
    (Ho et al. 2020), both on the schedule the models were trained with and on evenly spaced timesteps ("leading", as in
    the DDIM reference code). The predicted clean image is not clipped on the way (clip_sample False, as there): a
    student that leaves [-1, 1] is not repaired by the sampler. Only the final image is clamped to [-1, 1], and a pixel
    that is not finite becomes 0.

    `batch_size` is how many images travel through the sampler together, rounded up to whole micro-batches of
    `micro_batch_size(image_shape)`; it changes memory and time and never an image. The model lies on `device` already
    (by default: where its parameters are), is run in evaluation mode and is given back in the mode it came in.

    Raises ValueError for an unknown sampler or for a count that cannot be.
    """
    if sampler not in SAMPLERS:
        raise ValueError(f"evaluation.sampler must be one of {', '.join(SAMPLERS)}, but got {sampler!r}")
    if not 1 <= sampler_steps <= NUM_TIMESTEPS:
        raise ValueError(f"evaluation.sampler_steps must be 1 .. {NUM_TIMESTEPS}, but got {sampler_steps}")
    if min(num_images, batch_size) < 1:
        raise ValueError(f"num_images and batch_size must be at least 1, but got {num_images} and {batch_size}")
    if first_image < 0:
        raise ValueError(f"first_image must not be negative, but got {first_image}")
    device = torch.device(device) if device is not None else next(model.parameters()).device
    micro_batch = micro_batch_size(image_shape)
    batch = math.ceil(batch_size / micro_batch) * micro_batch
    images = torch.empty((num_images, *image_shape), dtype=torch.uint8)
    stop = first_image + num_images
    with _evaluation_mode(model), torch.inference_mode():
        for start in range(first_image - first_image % micro_batch, stop, batch):
            num_padded = min(batch, math.ceil((stop - start) / micro_batch) * micro_batch)
            generators = [derived_generator("image", noise_seed, i) for i in range(start, start + num_padded)]
            sampled = _run_sampler(
                model,
                generators=generators,
                image_shape=image_shape,
                sampler=sampler,
                sampler_steps=sampler_steps,
                micro_batch=micro_batch,
                device=device,
            )
            begin, end = max(start, first_image), min(start + num_padded, stop)
            images[begin - first_image : end - first_image] = sampled[begin - start : end - start]
    return images


def micro_batch_size(image_shape: tuple[int, int, int]) -> int:
    """How many images the model always sees at once; it follows from the image's size and from nothing else.

    Convolution kernels are chosen by the batch size, and their results differ in the last bits: on the CPU, batches of
    7 and of 64 gave images 7e-7 apart, which flipped the rounding of 3 of 65,536 bytes. Therefore image i always goes
    through the model as number i % M of micro-batch i // M, between the same neighbours; those that nobody asked for
    are sampled as padding and dropped. 256 is the quickest for 8x8 images on one CPU thread; large images fill a device
    with 64.
    """
    return 256 if math.prod(image_shape) <= 1024 else 64


def _run_sampler(
    model: nn.Module,
    *,
    generators: list[torch.Generator],
    image_shape: tuple[int, int, int],
    sampler: str,
    sampler_steps: int,
    micro_batch: int,
    device: torch.device,
) -> torch.Tensor:
    """uint8 (N, C, H, W) for N generators, N a multiple of `micro_batch`; noise is drawn on the CPU, x is float32."""
    scheduler = SAMPLERS[sampler].from_config(noise_schedule().config)
    scheduler.set_timesteps(sampler_steps)
    dtype = next(model.parameters()).dtype
    x_NCHW = torch.stack([torch.randn(image_shape, generator=generator) for generator in generators]).to(device)
    for timestep in scheduler.timesteps:
        micro_batches = torch.split(x_NCHW.to(dtype), micro_batch)
        noise_NCHW = torch.cat([model(x_MCHW, timestep).sample for x_MCHW in micro_batches]).float()
        x_NCHW = scheduler.step(noise_NCHW, timestep, x_NCHW, generator=generators).prev_sample
    return _to_uint8(x_NCHW).cpu()


def _to_uint8(x_NCHW: torch.Tensor) -> torch.Tensor:
    """[-1, 1] to 0 .. 255, clamped and rounded to the nearest; NaN and infinities of either sign become 0."""
    pixels = ((x_NCHW.clamp(-1.0, 1.0) + 1.0) * 127.5).round()
    return torch.where(x_NCHW.isfinite(), pixels, 0.0).to(torch.uint8)


@contextmanager
def _evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Dropout off inside; the model's own mode afterwards."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
