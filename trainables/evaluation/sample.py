"""Images from a trained model, each addressed by its own seed.

Image i starts from the noise of generator (noise_seed, i) and from nothing else, so every member of a study is sampled
from the same noise, and neither the batch size nor the number of workers changes an image.

Shapes: N images, M images of one micro-batch, C channels, H height, W width.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from inspect import signature
from typing import Any

import torch
from diffusers import DDPMScheduler
from torch import nn

from trainables.data import Dataset
from trainables.data.dataset import CLASSES
from trainables.evaluation.halving import AtOnce
from trainables.evaluation.micro_batches import decode_batch_size, micro_batch_size
from trainables.evaluation.together import Together
from trainables.families import predict, split_variance
from trainables.process import LEARNED_RANGE, Process
from trainables.seeds import derived_generator


def sample_images(*arguments: Any, **settings: Any) -> torch.Tensor:
    """All images of `sample_batches` at once: uint8 (N, C, H, W)."""
    return torch.cat(list(sample_batches(*arguments, **settings)))


def sample_batches(model: nn.Module, *arguments: Any, **settings: Any) -> Iterator[torch.Tensor]:
    """What `sample_together` draws of one model, in order and in batches: uint8 (B, C, H, W)."""
    return (images[0] for images in sample_together([model], *arguments, **settings))


def sample_together(
    models: Sequence[nn.Module],
    data: Dataset,
    process: Process,
    *,
    num_images: int,
    sampler: str = "ddim",
    sampler_steps: int,
    spacing: str = "leading",
    guidance: float = 1.0,
    guidance_channels: str = "all",
    noise_seed: int,
    batch_size: int,
    first_image: int = 0,
    device: torch.device | str | None = None,
) -> Iterator[torch.Tensor]:
    """Images first_image .. first_image + num_images - 1 of M models of one architecture, which sample as one, in order
    and in batches: uint8 (M, B, C, H, W) on the CPU, 0 .. 255. Of more than one model, the last bits are not those of a
    model alone.

    Image i has the i-th of the data's evaluation conditions, else that of the data's image i (modulo their number; a
    class i modulo the number of classes), and classifier-free guidance where `guidance` is not 1: unconditional +
    guidance * (conditional - unconditional), Ho and Salimans 2022, on all channels or, as in DiT's published sampling,
    on the first three. `ddim` is Song et al. 2021 with eta 0, `ddpm` is ancestral sampling (Ho et al. 2020), `pndm`
    linear multistep (Liu et al. 2022), `euler` follows a flow; all on the process the models were trained with and on
    its evenly spaced timesteps: `leading` as in the DDIM reference code, `linspace` as DiT respaces them. The predicted
    clean image is not clipped on the way unless the process says so: a student that leaves [-1, 1] is not repaired by
    the sampler. Only the final image is clamped to [-1, 1], and a pixel that is not finite becomes 0.

    `batch_size` is how many images travel through the sampler together, rounded up to whole micro-batches of
    `micro_batch_size`; it changes memory and time and never an image. A micro-batch that does not fit the memory of the
    device is halved, which changes the last bits. The models lie on `device` already (by default: where its parameters
    are), are run in evaluation mode and given back in the mode they came in.

    Raises ValueError for a sampler that is not one of the process, or for a count that cannot be.
    """
    if not 1 <= sampler_steps <= process.num_timesteps:
        raise ValueError(f"evaluation.sampler_steps must be 1 .. {process.num_timesteps}, but got {sampler_steps}")
    if min(num_images, batch_size) < 1:
        raise ValueError(f"num_images and batch_size must be at least 1, but got {num_images} and {batch_size}")
    if first_image < 0:
        raise ValueError(f"first_image must not be negative, but got {first_image}")
    make_sampler = partial(process.sampler, sampler, sampler_steps, spacing=spacing)
    make_sampler()
    answer = partial(predict, models[0]) if len(models) == 1 else Together(models)
    dtype = next(models[0].parameters()).dtype
    device = torch.device(device) if device is not None else next(models[0].parameters()).device
    micro_batch = micro_batch_size(data.shape.image)
    batch = math.ceil(batch_size / micro_batch) * micro_batch
    stop, sampled = first_image + num_images, AtOnce(micro_batch)
    decoded = AtOnce(batch if data.decoder is None else decode_batch_size(data.shape.image))

    def run(numbers: torch.Tensor, num: int) -> torch.Tensor:
        generators = [derived_generator("image", noise_seed, number) for _ in models for number in numbers.tolist()]
        noise = torch.stack([torch.randn(data.shape.image, generator=generator) for generator in generators])
        condition = {name: values.to(device) for name, values in _conditions(data, numbers).items()}
        guided = _Guided(answer, condition, data.null, guidance, guidance_channels, num, len(models), dtype)
        return _run_sampler(guided, noise.to(device), generators, make_sampler)

    for start in range(first_image - first_image % micro_batch, stop, batch):
        num_padded = min(batch, math.ceil((stop - start) / micro_batch) * micro_batch)
        numbers = torch.arange(start, start + num_padded)
        with _evaluation_mode(models), torch.inference_mode():
            x_0 = sampled(partial(run, numbers))
            images = decoded.over(x_0, lambda part: _to_uint8(data.decoded(part)).cpu())
        of_models = images.view(len(models), -1, *images.shape[1:])
        yield of_models[:, max(first_image - start, 0) : stop - start].clone()  # no tensor of inference mode leaves


@dataclass(frozen=True)
class _Guided:
    """Models under a condition, with classifier-free guidance; answer(x, time, condition) is `predict` of them all."""

    answer: Callable[[torch.Tensor, torch.Tensor, Mapping[str, torch.Tensor]], torch.Tensor]
    condition: Mapping[str, torch.Tensor]  # (N, ...)
    null: Mapping[str, torch.Tensor]
    guidance: float
    guidance_channels: str
    micro_batch: int
    num_models: int
    dtype: torch.dtype

    def __call__(self, x_NCHW: torch.Tensor, time: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The prediction (N, C, H, W) at one time, and what says its variance where the models learned it. N counts the
        images of all models, those of the first in front.
        """
        outputs, start = [], 0
        for x_MmCHW in torch.split(x_NCHW.view(self.num_models, -1, *x_NCHW.shape[1:]), self.micro_batch, dim=1):
            rows = slice(start, start + x_MmCHW.shape[1])
            condition = {name: _typed(values[rows], self.dtype) for name, values in self.condition.items()}
            x = x_MmCHW.flatten(0, 1).to(self.dtype)
            said = self._predict(x, time.expand(len(x)), condition)
            outputs.append(said.reshape(self.num_models, -1, *said.shape[1:]))
            start = rows.stop
        return split_variance(torch.cat(outputs, dim=1).flatten(0, 1).float(), x_NCHW.shape[1])

    def _predict(self, x_t: torch.Tensor, time: torch.Tensor, condition: Mapping[str, torch.Tensor]) -> torch.Tensor:
        output = self.answer(x_t, time, condition)
        if self.guidance == 1.0 or not condition:
            return output
        null = {
            name: _typed(self.null[name].to(values.device), x_t.dtype).expand_as(values)
            for name, values in condition.items()
        }
        # What is not guided, as a learned variance, is that of the condition.
        num_guided = 3 if self.guidance_channels == "first_three" else x_t.shape[1]
        without = self.answer(x_t, time, null)[:, :num_guided]
        guided = without + self.guidance * (output[:, :num_guided] - without)
        return torch.cat([guided, output[:, num_guided:]], dim=1)


def _typed(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return values.to(dtype) if values.is_floating_point() else values


def _run_sampler(
    guided: _Guided, x_NCHW: torch.Tensor, generators: list[torch.Generator], make_sampler: Callable[..., Any]
) -> torch.Tensor:
    """x_0 (N, C, H, W) of the noise, float32; make_sampler(learned_variance=...) is a diffusers scheduler, set."""
    sampler = make_sampler()
    for timestep in sampler.timesteps:
        prediction, variance = guided(x_NCHW, timestep.to(x_NCHW.device))
        if variance is not None and isinstance(sampler, DDPMScheduler):
            if sampler.config.variance_type != LEARNED_RANGE:
                sampler = make_sampler(learned_variance=True)
            prediction = torch.cat([prediction, variance], dim=1)
        x_NCHW = _step(sampler, prediction, timestep, x_NCHW, generators)
    return x_NCHW


def _step(
    sampler: Any, prediction: torch.Tensor, timestep: torch.Tensor, x_NCHW: torch.Tensor, generators: list[Any]
) -> torch.Tensor:
    """A sampler that draws, as ddpm does, wants one generator for each image."""
    own = {"generator": generators} if _draws(type(sampler).step) else {}
    return sampler.step(prediction, timestep, x_NCHW, **own).prev_sample  # type: ignore[no-any-return]


@cache
def _draws(step: Callable[..., Any]) -> bool:
    return "generator" in signature(step).parameters


def _conditions(data: Dataset, numbers: torch.Tensor) -> dict[str, torch.Tensor]:
    if data.num_classes is not None:
        return {CLASSES: numbers % data.num_classes}
    if data.evaluation_conditions:
        return {name: values[numbers % len(values)] for name, values in data.evaluation_conditions.items()}
    return data.condition(numbers % len(data))


def _to_uint8(x_NCHW: torch.Tensor) -> torch.Tensor:
    """[-1, 1] to 0 .. 255, clamped and rounded to the nearest; NaN and infinities of either sign become 0."""
    pixels = ((x_NCHW.clamp(-1.0, 1.0) + 1.0) * 127.5).round()
    return torch.where(x_NCHW.isfinite(), pixels, 0.0).to(torch.uint8)


@contextmanager
def _evaluation_mode(models: Sequence[nn.Module]) -> Iterator[None]:
    """Dropout off inside; the models' own modes afterwards."""
    were_training = [model.training for model in models]
    for model in models:
        model.eval()
    try:
        yield
    finally:
        for model, was_training in zip(models, were_training, strict=True):
            model.train(was_training)
