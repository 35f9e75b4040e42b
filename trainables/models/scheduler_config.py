"""How a model that is there was trained, from the scheduler_config.json that diffusers keeps beside it."""

import inspect
import json
from pathlib import Path
from typing import Any

import diffusers

from trainables.process import DIFFUSION, FLOW, Process

_FILE = "scheduler_config.json"
_BETAS = ("beta_start", "beta_end", "beta_schedule", "trained_betas", "rescale_betas_zero_snr")
_SCHEDULE = ("num_train_timesteps", *_BETAS, "prediction_type")
_FLOW = ("num_train_timesteps", "shift")
# Samplers of the same diffusion, whose configs say the betas in the same words; those of EDM, VE and others do not.
_DIFFUSION_SCHEDULERS = (
    *("DDPMScheduler", "DDPMParallelScheduler", "DDIMScheduler", "DDIMParallelScheduler", "PNDMScheduler"),
    *("LMSDiscreteScheduler", "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler"),
    *("KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler", "DPMSolverMultistepScheduler"),
    *("DPMSolverSinglestepScheduler", "DPMSolverSDEScheduler", "DEISMultistepScheduler", "UniPCMultistepScheduler"),
)
_NOT_UNDERSTOOD = ("use_flow_sigmas", "use_dynamic_shifting")  # another noising than the rest of the config says


def find_process(name: str, folder: Path, root: Path) -> Process | None:
    """How the model in `folder`, of the directory `root` that a user named, was trained; None where no file says it.

    diffusers keeps the file beside the weights (google/ddpm-*), or in scheduler/ of a pipeline. Raises ValueError,
    naming the teacher and what is not understood.
    """
    places = (folder, root, folder / "scheduler", root / "scheduler", folder.parent / "scheduler")
    path = next((place / _FILE for place in places if (place / _FILE).is_file()), None)
    if path is None:
        return None
    try:
        config = json.loads(path.read_bytes())
        if not isinstance(config, dict):
            raise ValueError(f"it must be a JSON object but is {config!r}")
        return _process(config)
    except (OSError, ValueError) as error:
        raise ValueError(f"teacher {name}: {path} is not understood: {error}") from error


def _process(config: dict[str, Any]) -> Process:
    scheduler = config.get("_class_name")
    if scheduler not in (*_DIFFUSION_SCHEDULERS, FLOW):
        raise ValueError(f"_class_name must be one of {', '.join((*_DIFFUSION_SCHEDULERS, FLOW))} but is {scheduler!r}")
    for key in _NOT_UNDERSTOOD:
        if config.get(key):
            raise ValueError(f"{key} must be false but is {config[key]!r}")
    if config.get("predict_epsilon") is False:  # as diffusers wrote it before there was prediction_type
        raise ValueError("predict_epsilon must be true but is false: such a model predicts x_0")
    defaults = inspect.signature(getattr(diffusers, scheduler).__init__).parameters
    known = _FLOW if scheduler == FLOW else _SCHEDULE
    said = {key: config.get(key, defaults[key].default) for key in known if key in config or key in defaults}
    own = {key: value for key, value in said.items() if value is not None}
    if scheduler != FLOW:
        own |= {"timestep_spacing": "trailing"} if config.get("timestep_spacing") == "trailing" else {}
        own["clip_sample"] = False
    process = Process(scheduler=FLOW if scheduler == FLOW else DIFFUSION, config=own)
    process.check()
    return process


def require_trained_like(name: str, found: Process | None, process: Process) -> None:
    """Raises ValueError where the study noises its images in another way than the teacher was trained with."""
    if found is None:
        return
    if not found.trains_like(process):
        raise ValueError(
            f"process={process.scheduler} {dict(process.config)} is not that of teacher {name}, which was trained with"
            f" {found.scheduler} {dict(found.config)}; say so in process"
        )
    spacing = found.config.get("timestep_spacing")
    if spacing is not None and "timestep_spacing" not in process.config:
        raise ValueError(
            f"process.config.timestep_spacing must be given for teacher {name}, which is sampled with {spacing!r}:"
            f" +process.config.timestep_spacing={spacing}"
        )
