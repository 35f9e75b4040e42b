"""Makes the digits' teachers: python -m trainables.training.train_digits_teachers OUT [NAME SEED [DEVICE]]

Trains every size with every seed (or the one that is named) as a student without KD is trained, halves the precision of
the weights, evaluates what a study will load, and writes the diffusers directories and facts.json to OUT, ready for
`trainables/models/digits_teachers`. Another device or torch ends in other last bits: the shipped files are the
definition, this script is how they came about.
"""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from trainables.data import DataSpec, load_data
from trainables.data.digits import Digits
from trainables.evaluation.evaluator import Evaluator
from trainables.losses.methods import METHODS
from trainables.models import load_model
from trainables.models.digest import weights_digest
from trainables.models.saved import save_model
from trainables.models.shipped import folder_name
from trainables.process import PIXEL
from trainables.protocol import EvaluationSpec
from trainables.ranks import Ranks
from trainables.specs import Member, ModelSpec, TrainSpec
from trainables.training.pack import Progress, train_pack

WIDTHS = {"digits_250k": (20, 40), "digits_360k": (24, 48), "digits_1360k": (44, 96)}
SEEDS = (0, 1)
LEARNING_RATES = {"digits_250k": 3e-3, "digits_360k": 2e-3, "digits_1360k": 1.5e-3}
STEPS = {"digits_250k": 4_000, "digits_360k": 3_500, "digits_1360k": 3_000}
DIGITS: DataSpec = Digits()
EVALUATION = EvaluationSpec(num_images=1797, sampler_steps=20, feature_extractor="digits-cnn-v1", batch_size=256)


def teacher_model(name: str) -> ModelSpec:
    """A U-Net with two levels, 8x8 and 4x4."""
    config = {
        "block_out_channels": list(WIDTHS[name]),
        "down_block_types": ["DownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "UpBlock2D"],
        "layers_per_block": 1,
        "add_attention": False,
        "norm_num_groups": 4,
    }
    return ModelSpec(name=name, model_class="UNet2DModel", config=config)


def recipe(name: str) -> TrainSpec:
    """The students' recipe with a larger batch, a longer average and a budget at which the FID has flattened."""
    return TrainSpec(
        steps=STEPS[name],
        batch_size=64,
        lr=LEARNING_RATES[name],
        lr_schedule="cosine",
        ema_decay=0.999,
        ema_warmup=True,
    )


def make_shipped(name: str, seed: int, out: Path, device: torch.device) -> dict[str, Any]:
    """Trains one teacher into `out`; returns its facts. Raises ValueError when the training diverges."""
    member = Member(
        data=DIGITS,
        teacher=None,
        student=teacher_model(name),
        method=METHODS["diffusion_only"],
        seed=seed,
        train=recipe(name),
        evaluation=EVALUATION,
        process=PIXEL,
    )
    (trained,) = train_pack(
        [member],
        None,
        load_data(DIGITS),
        initial=out,
        device=device,
        ranks=Ranks(),
        progress=Progress(lambda steps: print(f"{name} seed {seed}: {steps} steps", end="\r", file=sys.stderr), 10),
    )
    if trained.model is None:
        raise ValueError(f"{name} diverged at step {trained.diverged_at_step}")
    folder = out / folder_name(name, seed)
    with TemporaryDirectory() as kept:
        save_model(trained.model, Path(kept) / "whole", "whole.json", {}, PIXEL)
        folder.mkdir(parents=True, exist_ok=True)
        for part in ("unet/config.json", "unet/diffusion_pytorch_model.safetensors", "scheduler/scheduler_config.json"):
            (folder / part).parent.mkdir(exist_ok=True)
            (folder / part).write_bytes((Path(kept) / "whole" / part).read_bytes())
    weights = folder / "unet/diffusion_pytorch_model.safetensors"
    save_file({key: tensor.half() for key, tensor in load_file(weights).items()}, weights)
    model: Any = load_model(folder).to(device)
    with TemporaryDirectory() as reference:
        metrics = Evaluator(EVALUATION, DIGITS, PIXEL, Path(reference), device)(model).metrics
    return {
        "name": name,
        "seed": seed,
        "params": model.num_parameters(),
        "digest": weights_digest(model),
        "steps": STEPS[name],
        "device": device.type,
        "torch": torch.__version__,
        **{key: round(metrics[key], 4) for key in ("fid", "precision_", "recall")},
    }


def main(out: Path, wanted: list[tuple[str, int]], device: str) -> None:
    for name, seed in wanted:
        facts = make_shipped(name, seed, out, torch.device(device))
        path = out / "facts.json"
        known = json.loads(path.read_bytes()) if path.exists() else {}
        path.write_text(json.dumps({**known, folder_name(name, seed): facts}, indent=2, sort_keys=True) + "\n")
        print(facts)


if __name__ == "__main__":
    one = [(sys.argv[2], int(sys.argv[3]))] if len(sys.argv) > 3 else [(name, s) for name in WIDTHS for s in SEEDS]
    main(Path(sys.argv[1]), one, sys.argv[4] if len(sys.argv) > 4 else "cpu")
