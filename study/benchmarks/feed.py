"""How long a training step waits for its batch, drawn in its own thread and ahead of it by another.

The step is a sleep: what a training thread does while a GPU works. Batches, noise and timesteps are those of the
paper's recipes, of images and latents of noise.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from typing import Any

import torch

from study.benchmarks.measuring import Options, Result
from trainables.data.dataset import TEXT, Dataset
from trainables.data.prefetch import Prefetched
from trainables.data.streams import SeedStream
from trainables.process import PIXEL
from trainables.ranks import Ranks

AHEAD = 2
# The least that a step can take: a forward pass of the teacher (CelebA: 2.3e12 MACs a batch) at 3e13 MACs/s, an H100's
# peak in float32.
STEP_SECONDS = 0.075


def run(options: Options) -> Result:
    """`feed_wait_ms`: of a step of the CelebA recipe, the median; `feed_wait_ms_p99`; without a thread: `_plain`."""
    num_steps = 20 * options.repeats
    recipes: dict[str, Callable[[], SeedStream]] = {"celeba": _celeba, "sd21": _sd21}
    rows = [measure(name, make(), ahead, num_steps, options) for name, make in recipes.items() for ahead in (0, AHEAD)]
    plain, ours = rows[0], rows[1]
    values = {"feed_wait_ms": ours["wait_ms"], "feed_wait_ms_p99": ours["wait_ms_p99"]}
    return Result(rows, values | {"feed_wait_ms_plain": plain["wait_ms"]})


def measure(name: str, stream: SeedStream, ahead: int, num_steps: int, options: Options) -> dict[str, Any]:
    """Waits of so many steps, without the first, for which nothing could be drawn before it was asked for."""
    waits, sums, started_cpu = [], [], time.process_time()
    with ExitStack() as opened:
        pin = options.device.type == "cuda"
        source: Any = stream
        if ahead:
            source = opened.enter_context(closing(Prefetched(stream, num_steps=num_steps + 1, ahead=ahead, pin=pin)))
        for step in range(num_steps + 1):
            started = time.perf_counter()
            batch = source.batch(step)
            waits.append(1000 * (time.perf_counter() - started))
            time.sleep(STEP_SECONDS)
            sums.append(float(batch.x_t[0].sum()))
    found = torch.tensor(waits[1:], dtype=torch.float64)
    return {
        "recipe": name,
        "shape": "x".join(map(str, batch.x_t.shape)),
        "ahead": ahead,
        "step_ms": 1000 * STEP_SECONDS,
        "wait_ms": float(found.median()),
        "wait_ms_p99": float(found.quantile(0.99)),
        "wait_ms_max": float(found.max()),
        "cpu_ms_a_step": 1000 * (time.process_time() - started_cpu) / (num_steps + 1),
        "sum": sum(sums),  # the same with and without: the batches are
    }


def _celeba() -> SeedStream:
    """train=pixel_unet, data=celeba, with a tenth of its images."""
    images = torch.randint(0, 256, (20_000, 3, 64, 64), dtype=torch.uint8, generator=_generator())
    return _stream(Dataset(images=images, flip=True), batch_size=96, timesteps="antithetic")


def _sd21() -> SeedStream:
    """train=latent_unet, latents of 512x512 images with text, as float16."""
    draw = partial(torch.randn, dtype=torch.float16, generator=_generator())
    texts, nothing = draw((1000, 77, 1024)), draw((77, 1024))
    data = Dataset(images=draw((1000, 4, 64, 64)), conditions={TEXT: texts}, null={TEXT: nothing})
    return _stream(data, batch_size=128, timesteps="uniform", condition_dropout=0.1)


def _stream(data: Dataset, **recipe: Any) -> SeedStream:
    return SeedStream(data, PIXEL, seed=0, ranks=Ranks(), **recipe)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
