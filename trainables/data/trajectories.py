"""Training inputs without data (DKDM, Xiang et al. 2025): what the teacher itself meets while it denoises.

Shapes: P pool, B global batch, b one rank's share of it, C channels, H height, W width.
"""

from collections.abc import Callable, Mapping

import torch

from trainables.data.dataset import Dataset
from trainables.data.streams import Batch
from trainables.process import Process
from trainables.ranks import Ranks
from trainables.seeds import derived_generator

POOL_SHARE = 0.4  # batches of the pool for every timestep of the process
Predict = Callable[[torch.Tensor, torch.Tensor, Mapping[str, torch.Tensor]], torch.Tensor]


class TrajectoryStream:
    """A pool of x_t at all stages of denoising. A batch is drawn from it at random; the teacher's answer, which the
    students learn from, also moves it one ancestral step on (Euler for a flow) and back into the pool. What has arrived
    makes room for fresh noise under a condition drawn anew from the data set, which gives nothing else.

    All of it follows from the seed and the teacher, so it has a state: `tensors` and `restore`. predict(x_t, t,
    condition) is the teacher, which is asked for the pool's beginning. pool_batches, num_steps: batches in the pool and
    denoising steps; None: 0.4 batches for every timestep, and a step for every timestep, as published.
    """

    def __init__(
        self,
        data: Dataset,
        process: Process,
        predict: Predict,
        *,
        seed: int,
        batch_size: int,
        ranks: Ranks,
        device: torch.device,
        dtype: torch.dtype,
        pool_batches: int | None = None,
        num_steps: int | None = None,
    ) -> None:
        self.seed = seed
        self._data, self._process, self._predict, self._ranks = data, process, predict, ranks
        self._batch_size, self._device, self._dtype = batch_size, device, dtype
        self._pool_size = batch_size * (pool_batches or max(1, round(POOL_SHARE * process.num_timesteps)))
        self._num_steps = num_steps or process.num_timesteps
        self._stride = process.num_timesteps // self._num_steps
        self._pool: dict[str, torch.Tensor] = {}  # x (P, C, H, W), t (P,), index (P,) of the condition
        self._drawn = torch.empty(0, dtype=torch.int64)  # which of the pool (B,) the last batch was

    def batch(self, step: int) -> Batch:
        """This rank's share of the batch of a step; it has no x_0 and no target."""
        if not self._pool:
            self._fill()
        generator = derived_generator(self.seed, "pool", step)
        self._drawn = torch.randperm(self._pool_size, generator=generator)[: self._batch_size]
        share = self._drawn[self._ranks.rank :: self._ranks.world_size]
        return self._batch_of(share)

    def took(self, batch: Batch, prediction: torch.Tensor, step: int) -> None:
        """Puts what the teacher made of the last batch (b, C or 2C, H, W) back into the pool."""
        noise = self._noise(self._batch_size, ("ancestral", step))[self._ranks.rank :: self._ranks.world_size]
        moved = self._ranks.gather(self._moved(batch, prediction, noise)).cpu()
        t = self._pool["t"][self._drawn] - self._stride
        fresh = self._fresh(len(t), ("pool", step))
        arrived = t < 0
        self._pool["x"][self._drawn] = torch.where(arrived.view(-1, 1, 1, 1), fresh["x"], moved)
        self._pool["t"][self._drawn] = torch.where(arrived, fresh["t"], t)
        self._pool["index"][self._drawn] = torch.where(arrived, fresh["index"], self._pool["index"][self._drawn])

    def tensors(self) -> dict[str, torch.Tensor]:
        return self._pool

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self._pool = dict(tensors)

    def _fill(self) -> None:
        """Denoises fresh noise to as many stages as there are, evenly."""
        self._pool = self._fresh(self._pool_size, ("fill",))
        stages = torch.randint(self._num_steps, (self._pool_size,), generator=derived_generator(self.seed, "stages"))
        for chunk in torch.split(torch.arange(self._pool_size), self._batch_size):
            for stage in range(int(stages[chunk].max())):
                going = chunk[stages[chunk] > stage]
                batch = self._batch_of(going)
                time = self._process.model_time(batch.t)
                noise = self._noise(len(going), ("filled", int(chunk[0]), stage))
                said = self._predict(batch.x_t, time, batch.condition)
                self._pool["x"][going] = self._moved(batch, said, noise).cpu()
                self._pool["t"][going] -= self._stride

    def _noise(self, num: int, what: tuple[int | str, ...]) -> torch.Tensor:
        return torch.randn((num, *self._data.shape.image), generator=derived_generator(self.seed, *what))

    def _fresh(self, num: int, what: tuple[int | str, ...]) -> dict[str, torch.Tensor]:
        generator = derived_generator(self.seed, "fresh", *what)
        offset = torch.randint(self._stride, (num,), generator=generator)
        return {
            "x": torch.randn((num, *self._data.shape.image), generator=generator),
            "t": self._process.num_timesteps - 1 - offset,
            "index": torch.randint(self._data.num_conditions, (num,), generator=generator),
        }

    def _batch_of(self, entries: torch.Tensor) -> Batch:
        condition = self._data.condition(self._pool["index"][entries])
        batch = Batch(None, self._pool["x"][entries], self._pool["t"][entries], None, condition)
        return batch.to(self._device, self._dtype)

    def _moved(self, batch: Batch, prediction: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        earlier = (batch.t - self._stride).clamp(min=0)
        return self._process.denoised(batch.x_t, prediction, batch.t, earlier, noise.to(batch.x_t)).float()
