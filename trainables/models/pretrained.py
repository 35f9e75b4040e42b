"""Teachers that are there already, as a diffusers directory or on the Hugging Face hub: what they are, and how trained.

Schedule, prediction type and architecture are read from their files and not assumed.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.data import DataShape, data_shape
from trainables.families import FAMILIES
from trainables.models.build import known_class
from trainables.models.count import count
from trainables.process import DIFFUSION, FLOW, Process
from trainables.specs import ModelSpec, Pretrained, TeacherSpec

_SUBFOLDERS = ("unet", "transformer")  # of a pipeline's directory
_BETAS = ("beta_start", "beta_end", "beta_schedule", "trained_betas", "rescale_betas_zero_snr")
_SCHEDULE = ("num_train_timesteps", *_BETAS, "prediction_type")
_FLOW = ("num_train_timesteps", "shift")


@dataclass(frozen=True)
class Found:
    """A model that is there. process: how it was trained; None where its directory does not say."""

    model: ModelSpec
    pretrained: Pretrained
    process: Process | None


def find_pretrained(name: str, root: Path, subfolder: str | None, shape: DataShape) -> Found:
    """The model of a directory: a model's own, or a pipeline's with unet/ or transformer/ and scheduler/ in it.

    Raises ValueError, naming the teacher, when there is no such model with safetensors weights or it is not made for
    such data.
    """
    folder = _model_folder(name, root, subfolder)
    try:
        config = _json(folder / "config.json")
    except (OSError, ValueError) as error:
        raise ValueError(f"teacher {name}: {folder} does not hold a diffusers model: {error}") from error
    model_class = known_class({"_class_name": None, **config})
    if model_class not in FAMILIES:
        raise ValueError(f"teacher {name}: {folder} must hold one of {', '.join(FAMILIES)} but got a {model_class!r}")
    needed = FAMILIES[model_class].config(shape)
    for key, value in needed.items():
        if config.get(key, value) != value:
            raise ValueError(f"teacher {name}: {folder} has {key} {config[key]!r}, but the data needs {value!r}")
    taken = FAMILIES[model_class].model_class._get_init_keys(FAMILIES[model_class].model_class)
    own = {key: value for key, value in config.items() if key in taken and key not in needed}
    spec = ModelSpec(name=name, model_class=model_class, config=own)
    pretrained = Pretrained(folder=str(folder.absolute()), digest=_digest(name, folder))
    return Found(spec, pretrained, _process(name, folder))


def fetch(spec: TeacherSpec) -> Path:
    """The folder of a pretrained teacher's model; one of the hub is fetched, unless it was before.

    Raises ValueError when it cannot be had, is another architecture than the spec's, or was trained another way.
    """
    pretrained = spec.pretrained
    assert pretrained is not None
    if pretrained.folder is not None:
        return Path(pretrained.folder)
    found = find_pretrained(spec.name, _from_hub(pretrained), pretrained.subfolder, data_shape(spec.data))
    if found.process is not None and not found.process.trains_like(spec.process):
        raise ValueError(f"teacher {spec.name} was trained with {found.process}, not with {spec.process}")
    theirs, ours = (count(model, data_shape(spec.data)) for model in (found.model, spec.model))
    if theirs != ours:
        raise ValueError(f"teacher {spec.name}: {pretrained.hub} has {theirs.params} parameters, not {ours.params}")
    assert found.pretrained.folder is not None
    return Path(found.pretrained.folder)


def _model_folder(name: str, root: Path, subfolder: str | None) -> Path:
    if subfolder is not None and (not isinstance(subfolder, str) or Path(subfolder).name != subfolder):
        raise ValueError(f"teacher {name}: subfolder must be the name of a folder but got {subfolder!r}")
    for inner in (subfolder,) if subfolder else ("", *_SUBFOLDERS):
        if (root / inner / "config.json").is_file():
            return root / inner
    raise ValueError(f"teacher {name}: folder must be a diffusers directory (with a config.json) but got {root}")


def _digest(name: str, folder: Path) -> str:
    """sha256 of the config and the weights, which are taken only as safetensors."""
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise ValueError(f"teacher {name}: {folder} has no safetensors weights, and others are not loaded")
    digest = hashlib.sha256()
    for path in (folder / "config.json", *weights):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _process(name: str, folder: Path) -> Process | None:
    path = folder.parent / "scheduler" / "scheduler_config.json"
    if not path.is_file():
        return None
    try:
        config = _json(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"teacher {name}: {path} is no scheduler's config: {error}") from error
    is_flow = str(config.get("_class_name", "")).startswith("FlowMatch")
    known = _FLOW if is_flow else _SCHEDULE
    own = {key: config[key] for key in known if config.get(key) is not None}
    if not is_flow:
        own["clip_sample"] = False
    try:
        return Process(scheduler=FLOW if is_flow else DIFFUSION, config=own)
    except ValueError as error:
        raise ValueError(f"teacher {name}: {path}: {error}") from error


def _json(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_bytes())
    if not isinstance(content, dict):
        raise ValueError(f"it must be a JSON object but is {content!r}")
    return content


def _from_hub(pretrained: Pretrained) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    assert pretrained.hub is not None
    folder = f"{pretrained.subfolder}/" if pretrained.subfolder else ""
    patterns = [f"{folder}*.json", f"{folder}*.safetensors", "scheduler/*.json"]
    try:
        return Path(snapshot_download(pretrained.hub, revision=pretrained.revision, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ValueError(f"{pretrained.hub} cannot be had from the hub: {str(error).splitlines()[0]}") from error
