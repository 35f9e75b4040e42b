"""Students that a study saved, loaded and sampled by diffusers' own pipelines, from their folder as it is.

A pipeline in pixels needs nothing more. One that decodes latents is given its autoencoder, and one that reads text its
encoders (here: embeddings in place of prompts): a student has none of its own.
"""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMPipeline,
    DDPMPipeline,
    DiffusionPipeline,
    DiTPipeline,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
)
from family_models import CONDITIONAL_UNET, DIT, MMDIT, UNET, data_for
from torch import nn

from trainables.families.pruned_unet import PrunedUNet2DModel
from trainables.models import build_model, load_model
from trainables.models.digest import weights_digest
from trainables.models.pretrained import find_pretrained
from trainables.models.saved import TrainedStudent, load_student, save_student
from trainables.process import FLOW, PIXEL, Process
from trainables.pruning import prune
from trainables.specs import ModelSpec

SCALED = {**PIXEL.config, "beta_schedule": "scaled_linear", "steps_offset": 1}
PROCESSES = {
    "UNet2DConditionModel": Process(config=SCALED),
    "SD3Transformer2DModel": Process(scheduler=FLOW, config={"shift": 3.0}),
}


def vae(**config: Any) -> AutoencoderKL:
    """Turns latents (B, 4, 8, 8) into images (B, 3, 8, 8)."""
    return AutoencoderKL(block_out_channels=(4,), norm_num_groups=2, latent_channels=4, sample_size=8, **config).eval()


def saved(model: nn.Module, folder: Path, process: Process) -> Path:
    save_student(TrainedStudent("0123456789abcdef", model, weights_digest(model), [], 1.0, None), folder, process)
    return folder


def unconditional(folder: Path, pipeline: Any) -> tuple[Any, np.ndarray]:
    found = pipeline.from_pretrained(folder)
    return found, _images(found, batch_size=2)


def of_classes(folder: Path) -> tuple[Any, np.ndarray]:
    found = DiTPipeline.from_pretrained(folder, vae=vae())
    return found, _images(found, class_labels=[0, 2], guidance_scale=1.5)


def of_text(folder: Path) -> tuple[Any, np.ndarray]:
    none = dict.fromkeys(("text_encoder", "tokenizer", "safety_checker", "feature_extractor"))
    found = StableDiffusionPipeline.from_pretrained(folder, vae=vae(), **none, requires_safety_checker=False)
    return found, _images(found, **_prompts(), guidance_scale=7.5, height=8, width=8)


def of_text_by_a_flow(folder: Path) -> tuple[Any, np.ndarray]:
    names = [f"{kind}{number}" for kind in ("text_encoder", "tokenizer") for number in ("", "_2", "_3")]
    found = StableDiffusion3Pipeline.from_pretrained(folder, vae=vae(shift_factor=0.1), **dict.fromkeys(names))
    pooled = {"pooled_prompt_embeds": torch.randn(2, 7), "negative_pooled_prompt_embeds": torch.zeros(2, 7)}
    return found, _images(found, **_prompts(), **pooled, guidance_scale=7.0, height=8, width=8)


def _prompts() -> dict[str, torch.Tensor]:
    return {"prompt_embeds": torch.randn(2, 5, 6), "negative_prompt_embeds": torch.zeros(2, 5, 6)}


def _images(pipeline: Any, **settings: Any) -> np.ndarray:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(num_inference_steps=2, output_type="np", generator=torch.Generator().manual_seed(0), **settings)[0]


@pytest.mark.parametrize(
    ("spec", "sample"),
    [
        (UNET, lambda folder: unconditional(folder, DDPMPipeline)),
        (UNET, lambda folder: unconditional(folder, DDIMPipeline)),
        (UNET, lambda folder: unconditional(folder, DiffusionPipeline)),
        (DIT, of_classes),
        (CONDITIONAL_UNET, of_text),
        (MMDIT, of_text_by_a_flow),
    ],
    ids=["ddpm", "ddim", "any", "dit", "stable-diffusion", "stable-diffusion-3"],
)
def test_the_folder_of_a_student_is_a_pipelines(
    spec: ModelSpec, sample: Callable[[Path], tuple[Any, np.ndarray]], tmp_path: Path
) -> None:
    shape = data_for(spec).shape
    if spec is DIT:  # DiTPipeline takes 1000 for no class
        shape = replace(shape, num_classes=1000)
    student = build_model(spec, shape, seed=1).eval()
    process = PROCESSES.get(spec.model_class, PIXEL)
    folder = saved(student, tmp_path / "student", process)
    torch.manual_seed(0)
    pipeline, images = sample(folder)
    component = pipeline.unet if hasattr(pipeline, "unet") else pipeline.transformer
    assert weights_digest(component) == weights_digest(student)
    assert process.config.items() <= dict(pipeline.scheduler.config).items()
    assert images.shape[:3] == (2, 8, 8)
    assert np.isfinite(images).all()
    assert images.std() > 0
    kept = load_student(folder)
    assert kept is not None
    assert kept.digest == weights_digest(student)


def test_the_folder_of_a_student_is_a_teachers_too(tmp_path: Path) -> None:
    """With how it was trained: teachers=[{name: ..., folder: students/<train_id>}]."""
    shape = data_for(CONDITIONAL_UNET).shape
    process = PROCESSES["UNet2DConditionModel"]
    folder = saved(build_model(CONDITIONAL_UNET, shape, seed=1), tmp_path / "student", process)
    found = find_pretrained("mine", folder, None, shape)
    assert found.process is not None
    assert found.process.trains_like(process)
    assert not found.process.trains_like(PIXEL)


SAMPLE = """
import sys
import trainables.families.pruned_unet
from diffusers import DDPMPipeline
pipeline = DDPMPipeline.from_pretrained(sys.argv[1])
pipeline.set_progress_bar_config(disable=True)
print(type(pipeline.unet).__name__, pipeline(batch_size=2, num_inference_steps=2, output_type="np").images.shape)
"""


def test_a_pruned_unet_is_found_where_its_class_was_imported(tmp_path: Path) -> None:
    """It is none of diffusers' own, which takes it by the name in model_index.json but imports nothing by itself."""
    data = data_for(UNET)
    settings = {"how": "diff_pruning", "ratio": 0.5, "num_steps": 1, "batch_size": 2}
    student = prune(build_model(UNET, data.shape, seed=0).eval(), settings, data=data, process=PIXEL)
    assert isinstance(student, PrunedUNet2DModel)
    folder = saved(student, tmp_path / "student", PIXEL)
    assert weights_digest(load_model(folder)) == weights_digest(student)
    result = subprocess.run([sys.executable, "-c", SAMPLE, str(folder)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split(maxsplit=1)[0] == "PrunedUNet2DModel"
    assert f"(2, 8, 8, {data.shape.image[0]})" in result.stdout
