"""Teachers that are there already, as a diffusers directory or on the Hugging Face hub: what they are, and how trained.

Schedule, prediction type and architecture are read from their files and not assumed.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.data.dataset import DataShape
from trainables.families import FAMILIES
from trainables.process import DIFFUSION, FLOW, Process
from trainables.specs import ModelSpec, Pretrained

_SUBFOLDERS = ("unet", "transformer")  # of a pipeline's directory
_SCHEDULE = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "prediction_type", "trained_betas")
_FLOW = ("num_train_timesteps", "shift")


@dataclass(frozen=True)
class Found:
    """A model that is there. process: how it was trained; None where its directory does not say."""

    model: ModelSpec
    pretrained: Pretrained
    process: Process | None


def find_pretrained(key: str, source: Mapping[str, str], shape: DataShape) -> Found:
    """The model of a source: name, and folder or hub (with subfolder and revision).

    A folder is a model's, or a pipeline's with the model in unet/ or transformer/ and its scheduler beside it. Raises
    ValueError, naming the key, when there is no such model with safetensors weights or it is not made for such data.
    """
    root = Path(source["folder"]) if "folder" in source else _from_hub(key, source)
    folder = _model_folder(key, root, source.get("subfolder"))
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{key}: {folder} does not hold a diffusers model: {error}") from error
    model_class = config.get("_class_name")
    if model_class not in FAMILIES:
        raise ValueError(f"{key}: {folder} must hold one of {', '.join(FAMILIES)} but got a {model_class!r}")
    for name, value in FAMILIES[model_class].config(shape).items():
        if config.get(name, value) != value:
            raise ValueError(f"{key}: {folder} has {name} {config[name]!r}, but the data needs {value!r}")
    own = {name: value for name, value in config.items() if not name.startswith("_")}
    own = {name: value for name, value in own.items() if name not in FAMILIES[model_class].config(shape)}
    spec = ModelSpec(name=source["name"], model_class=model_class, config=own)
    return Found(spec, Pretrained(folder=str(folder.absolute()), digest=_digest(key, folder)), _process(key, folder))


def _model_folder(key: str, root: Path, subfolder: str | None) -> Path:
    if subfolder is not None and Path(subfolder).name != subfolder:
        raise ValueError(f"{key}.subfolder must be the name of a folder but got {subfolder!r}")
    for name in (subfolder,) if subfolder else ("", *_SUBFOLDERS):
        if (root / name / "config.json").is_file():
            return root / name
    raise ValueError(f"{key}.folder must be a diffusers directory (with a config.json) but got {root}")


def _digest(key: str, folder: Path) -> str:
    """sha256 of the config and the weights, which are taken only as safetensors."""
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise ValueError(f"{key}: {folder} has no safetensors weights, and others are not loaded")
    digest = hashlib.sha256()
    for path in (folder / "config.json", *weights):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _process(key: str, folder: Path) -> Process | None:
    path = folder.parent / "scheduler" / "scheduler_config.json"
    if not path.is_file():
        return None
    config = json.loads(path.read_text())
    is_flow = str(config.get("_class_name", "")).startswith("FlowMatch")
    known = _FLOW if is_flow else _SCHEDULE
    own = {name: config[name] for name in known if config.get(name) is not None}
    if not is_flow:
        own["clip_sample"] = False
    try:
        return Process(scheduler=FLOW if is_flow else DIFFUSION, config=own)
    except ValueError as error:
        raise ValueError(f"{key}: {path}: {error}") from error


def _from_hub(key: str, source: Mapping[str, str]) -> Path:
    """The snapshot of a repository of the hub: what is there already, else from the network."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = [
        f"{name}*{ending}"
        for name in ("", *(f"{one}/" for one in (*_SUBFOLDERS, "scheduler")))
        for ending in (".json", ".safetensors")
    ]
    try:
        return Path(snapshot_download(source["hub"], revision=source.get("revision"), allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ValueError(f"{key}.hub={source['hub']} cannot be had: {str(error).splitlines()[0]}") from error
