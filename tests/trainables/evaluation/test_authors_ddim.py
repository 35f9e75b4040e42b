"""100 DDIM steps against those of the authors' sampler (Hyun-s/LIFT_PLACE 839a663) on the same noise."""

from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from study.benchmarks.plain_lift_place import relative_error
from trainables.evaluation.sample import _run_sampler
from trainables.process import PIXEL


def test_ddim_gives_what_the_authors_sampler_gives() -> None:
    with np.load(Path(__file__).parent / "authors" / "ddim_100.npz", allow_pickle=False) as file:
        theirs = {key: torch.from_numpy(file[key]) for key in file.files}

    def model(x: torch.Tensor, time: torch.Tensor) -> tuple[torch.Tensor, None]:
        return functional.conv2d(x, theirs["weight"], theirs["bias"], padding=1).tanh() + 0.001 * time, None

    x_0 = _run_sampler(model, theirs["x_T"], [], partial(PIXEL.sampler, "ddim", 100))  # type: ignore[arg-type]
    assert relative_error(x_0, theirs["x_0"]) < 1e-5
