#!/bin/bash
# Yours in five minutes, in an empty folder: an own loss, own images, an own model. Needs kd-study on the PATH.
set -eu

# What you have: a folder of images, and a model that diffusers saved
python - <<'END'
import trainables  # before diffusers: mends torchvision's operators without a GPU
import torch
from diffusers import DDPMScheduler, UNet2DModel
from PIL import Image

model = UNet2DModel(
    sample_size=16, in_channels=3, out_channels=3, layers_per_block=1, norm_num_groups=8, add_attention=False,
    block_out_channels=(32, 64), down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2,
)
model.save_pretrained("my_model/unet")
DDPMScheduler(clip_sample=False).save_pretrained("my_model/scheduler")
torch.manual_seed(0)
from pathlib import Path
Path("photos").mkdir()
for number in range(96):
    pixels = torch.randint(0, 256, (4, 4, 3), dtype=torch.uint8).repeat_interleave(5, 0).repeat_interleave(5, 1)
    Image.fromarray(pixels.numpy()).save(f"photos/{number:03d}.png")
END

# A loss of your own
cat > my_losses.py <<'END'
import torch


def cosine(student, teacher, *, power: float = 1.0):
    """1 - cosine similarity of the outputs (B, C, H, W) of each sample, in the scale of a sum over their elements."""
    cosines = torch.cosine_similarity(student.flatten(1), teacher.flatten(1))
    return student[0].numel() * (1 - cosines).pow(power).mean()
END
kd-study check my_losses:cosine

# The study: a file to edit, here with what else it needs on the command line
kd-study init mine.yaml
mine=(
  mine.yaml data=folder data.path=photos 'teachers=[{folder: my_model}]'
  'methods=[diffusion_only, out_kd, {method: mine, output: "my_losses:cosine"}]'
  student.ratio=0.05 evaluation.feature_extractor=own-v1 train.steps=30
)
kd-study sweep "${mine[@]}" dry_run=true
kd-study sweep "${mine[@]}"
kd-study status study_dir=studies/mine plugins=true
kd-study report study_dir=studies/mine
