"""Models that sample as one draw what each draws by itself."""

import family_models
import pytest
import torch

from trainables.data.streams import Batch
from trainables.evaluation.sample import sample_images, sample_together
from trainables.evaluation.together import Together
from trainables.models import build_model
from trainables.process import PIXEL


def test_models_together_draw_the_images_of_each_alone() -> None:
    for spec in (family_models.UNET, family_models.DIT):
        data = family_models.data_for(spec)
        models = [build_model(spec, data.shape, seed=seed).eval().requires_grad_(False) for seed in range(3)]
        settings = {"num_images": 5, "sampler": "ddpm", "sampler_steps": 3, "noise_seed": 0, "batch_size": 4}
        alone = torch.stack([sample_images(one, data, PIXEL, guidance=1.5, **settings) for one in models])
        together = torch.cat(list(sample_together(models, data, PIXEL, guidance=1.5, **settings)), dim=1)
        assert ((alone.int() - together.int()).abs() > 1).sum() == 0  # the last bits may differ
        assert (alone[0].int() - alone[1].int()).abs().max() > 20


def test_where_memory_runs_out_half_as_many_images_travel_together(monkeypatch: pytest.MonkeyPatch) -> None:
    data = family_models.data_for(family_models.UNET)
    models = [build_model(family_models.UNET, data.shape, seed=seed).eval().requires_grad_(False) for seed in range(2)]
    settings = {"num_images": 6, "sampler_steps": 2, "noise_seed": 0, "batch_size": 4}
    (whole,) = sample_together(models, data, PIXEL, **settings)
    answer, asked = Together._all, []

    def small(self: Together, batch: Batch) -> torch.Tensor:
        asked.append(len(batch.x_t))
        if len(batch.x_t) > 128:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return answer(self, batch)

    monkeypatch.setattr(Together, "_all", small)
    (halved,) = sample_together(models, data, PIXEL, **settings)
    assert asked[:3] == [512, 256, 128]  # of both models
    assert ((whole.int() - halved.int()).abs() > 1).sum() == 0
