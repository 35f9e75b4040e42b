"""Students that a study saved, loaded by diffusers alone and sampled by its own pipelines."""

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
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    DiTPipeline,
    DiTTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
    UNet2DModel,
)
from family_models import CONDITIONAL_UNET, DIT, MMDIT, UNET, data_for

from trainables.models import build_model
from trainables.models.digest import weights_digest
from trainables.models.saved import save_model
from trainables.specs import ModelSpec


def vae(**config: Any) -> AutoencoderKL:
    """Turns latents (B, 4, 8, 8) into images (B, 3, 8, 8)."""
    return AutoencoderKL(block_out_channels=(4,), norm_num_groups=2, latent_channels=4, sample_size=8, **config).eval()


def unconditional(student: UNet2DModel, pipeline: Callable[..., Any], scheduler: Any) -> np.ndarray:
    return _images(pipeline(student, scheduler), batch_size=2)


def of_classes(student: DiTTransformer2DModel) -> np.ndarray:
    pipeline = DiTPipeline(student, vae(), DDPMScheduler())
    return _images(pipeline, class_labels=[0, 2], guidance_scale=1.5)


def of_text(student: UNet2DConditionModel) -> np.ndarray:
    pipeline = StableDiffusionPipeline(
        vae=vae(),
        text_encoder=None,
        tokenizer=None,
        unet=student,
        scheduler=DDIMScheduler(steps_offset=1, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    return _images(pipeline, **_prompts(), guidance_scale=7.5, height=8, width=8)


def of_text_by_a_flow(student: SD3Transformer2DModel) -> np.ndarray:
    encoders = dict.fromkeys(("text_encoder", "text_encoder_2", "text_encoder_3"))
    tokenizers = dict.fromkeys(("tokenizer", "tokenizer_2", "tokenizer_3"))
    pipeline = StableDiffusion3Pipeline(
        transformer=student,
        vae=vae(shift_factor=0.1),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        **encoders,
        **tokenizers,
    )
    pooled = {"pooled_prompt_embeds": torch.randn(2, 7), "negative_pooled_prompt_embeds": torch.zeros(2, 7)}
    return _images(pipeline, **_prompts(), **pooled, guidance_scale=7.0, height=8, width=8)


def _prompts() -> dict[str, torch.Tensor]:
    return {"prompt_embeds": torch.randn(2, 5, 6), "negative_prompt_embeds": torch.zeros(2, 5, 6)}


def _images(pipeline: Any, **settings: Any) -> np.ndarray:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(num_inference_steps=2, output_type="np", generator=torch.Generator().manual_seed(0), **settings)[0]


@pytest.mark.parametrize(
    ("spec", "model_class", "sample"),
    [
        (UNET, UNet2DModel, lambda student: unconditional(student, DDPMPipeline, DDPMScheduler())),
        (UNET, UNet2DModel, lambda student: unconditional(student, DDIMPipeline, DDIMScheduler())),
        (DIT, DiTTransformer2DModel, of_classes),
        (CONDITIONAL_UNET, UNet2DConditionModel, of_text),
        (MMDIT, SD3Transformer2DModel, of_text_by_a_flow),
    ],
    ids=["ddpm", "ddim", "dit", "stable-diffusion", "stable-diffusion-3"],
)
def test_a_saved_student_serves_in_a_pipeline(
    spec: ModelSpec, model_class: Any, sample: Callable[[Any], np.ndarray], tmp_path: Path
) -> None:
    shape = data_for(spec).shape
    if spec is DIT:  # DiTPipeline takes 1000 for no class
        shape = replace(shape, num_classes=1000)
    student = build_model(spec, shape, seed=1)
    save_model(student, tmp_path / "student", "facts.json", {})
    loaded = model_class.from_pretrained(tmp_path / "student").eval()
    assert weights_digest(loaded) == weights_digest(student)
    torch.manual_seed(0)
    images = sample(loaded)
    assert images.shape[:3] == (2, 8, 8)
    assert np.isfinite(images).all()
    assert images.std() > 0
