"""DiT as it is on the hub: class Transformer2DModel, keys that diffusers has forgotten, another time embedding."""

import json
import math
from pathlib import Path

import pytest
import torch
from diffusers import DiTTransformer2DModel
from family_models import DIT, data_for

from trainables.families import predict
from trainables.families.dit import OfficialDiTTransformer2DModel
from trainables.models import build_model, count, load_model
from trainables.models.pretrained import find_pretrained
from trainables.models.saved import save_model
from trainables.process import PIXEL
from trainables.pruning import prune

DATA = data_for(DIT)
# config.json of facebook/DiT-XL-2-256's transformer, with the sizes of a miniature.
HUB_CONFIG = {
    "_class_name": "Transformer2DModel", "_diffusers_version": "0.12.0.dev0", "activation_fn": "gelu-approximate",
    "attention_bias": True, "attention_head_dim": 8, "cross_attention_dim": None, "double_self_attention": False,
    "dropout": 0.0, "in_channels": 4, "norm_elementwise_affine": False, "norm_num_groups": 2,
    "norm_type": "ada_norm_zero", "num_attention_heads": 2, "num_embeds_ada_norm": 3, "num_layers": 4,
    "num_vector_embeds": None, "only_cross_attention": False, "out_channels": 8, "patch_size": 2, "sample_size": 8,
    "upcast_attention": False, "use_linear_projection": False,
}  # fmt: skip


@pytest.fixture
def hub_folder(tmp_path: Path) -> Path:
    pipeline = tmp_path / "hub"
    model = build_model(DIT, DATA.shape, seed=0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.data += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    save_model(model, pipeline, "facts.json", {}, PIXEL)
    folder = pipeline / "transformer"
    (folder / "config.json").write_text(json.dumps(HUB_CONFIG))
    return folder


def said(model: torch.nn.Module) -> torch.Tensor:
    numbers = torch.arange(4)
    with torch.no_grad():
        return predict(model.eval(), DATA.x_0(numbers), torch.tensor([0, 100, 500, 999]), DATA.condition(numbers))


def test_the_hubs_directory_loads_with_the_published_time_embedding(hub_folder: Path) -> None:
    model = load_model(hub_folder)
    assert isinstance(model, OfficialDiTTransformer2DModel)
    half = 128
    t = torch.tensor([700])
    frequencies = torch.exp(-math.log(10000) * torch.arange(half) / half)  # DiT's timestep_embedding
    expected = torch.cat([(t[:, None] * frequencies).cos(), (t[:, None] * frequencies).sin()], dim=1)
    for block in model.transformer_blocks:
        torch.testing.assert_close(block.norm1.emb.time_proj(t), expected, rtol=1e-4, atol=1e-4)
    plain = DiTTransformer2DModel.from_pretrained(hub_folder, low_cpu_mem_usage=False)
    assert (said(model) - said(plain)).abs().max() > 1e-3


def test_it_is_found_as_a_teacher_that_can_be_built(hub_folder: Path) -> None:
    found = find_pretrained("dit", hub_folder, None, DATA.shape)
    assert found.model.model_class == "OfficialDiTTransformer2DModel"
    assert count(found.model, DATA.shape).params == count(DIT, DATA.shape).params


def test_its_students_keep_the_time_embedding(hub_folder: Path, tmp_path: Path) -> None:
    student = prune(load_model(hub_folder), {"how": "depth_pruning", "num_layers": 2}, data=DATA, process=PIXEL)
    save_model(student, tmp_path / "student", "facts.json", {}, PIXEL)
    again = load_model(tmp_path / "student")
    assert isinstance(again, OfficialDiTTransformer2DModel)
    assert again.transformer_blocks[0].norm1.emb.time_proj.downscale_freq_shift == 0
    assert torch.equal(said(again), said(student))
