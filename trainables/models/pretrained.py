"""Teachers that are there already, as a diffusers directory or on the Hugging Face hub: what they are, and how trained.

Schedule, prediction type and architecture are read from their files and not assumed.
"""

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from trainables.data import DataShape, data_shape
from trainables.families import FAMILIES, Family, find_family
from trainables.models.build import build_model, component_folder, known_class, load_model
from trainables.models.conditions import require_conditions
from trainables.models.hub import cached_repository, fetch_configs, fetch_repository
from trainables.models.scheduler_config import find_process, require_trained_like
from trainables.models.shipped import SHIPPED
from trainables.models.sizes import count
from trainables.process import Process
from trainables.specs import ModelSpec, Pretrained, TeacherSpec
from trainables.weights import as_safetensors, check_weights, weight_digest, weight_files

_SUBFOLDERS = ("unet", "transformer")  # of a pipeline's directory


@dataclass(frozen=True)
class Found:
    """A model that is there. process: how it was trained; None where its directory does not say."""

    model: ModelSpec
    pretrained: Pretrained
    process: Process | None


def find_pretrained(
    name: str,
    root: Path,
    subfolder: str | None,
    shape: DataShape,
    *,
    variant: str | None = None,
    model_class: str | None = None,
) -> Found:
    """The model of a directory: a model's own, or a pipeline's with unet/ or transformer/ and scheduler/ in it.

    variant: of the weights, e.g. fp16. model_class: module:name of a family of the user's.
    Raises ValueError, naming the teacher, when there is no such model with weights that can be loaded, or it is not
    made for such data.
    """
    folder, spec, process = _described(name, root, subfolder, shape, model_class)
    try:
        files = weight_files(folder, variant)
        check_weights(files, build_model(spec, shape, seed=0, device="meta"))
    except ValueError as error:
        raise ValueError(f"teacher {name}: {error}") from error
    digest = weight_digest(folder / "config.json", files)
    pretrained = Pretrained(folder=str(folder.absolute()), digest=digest, variant=variant)
    return Found(spec, pretrained, process)


def _described(
    name: str, root: Path, subfolder: str | None, shape: DataShape, model_class: str | None = None
) -> tuple[Path, ModelSpec, Process | None]:
    """The model's own folder, and what its config and its scheduler's say; its weights are not looked at."""
    folder = _model_folder(name, root, subfolder)
    try:
        config = json.loads((folder / "config.json").read_bytes())
        if not isinstance(config, dict):
            raise ValueError(f"it must be a JSON object but is {config!r}")
    except (OSError, ValueError) as error:
        raise ValueError(f"teacher {name}: {folder} does not hold a diffusers model: {error}") from error
    said = known_class({"_class_name": None, **config})
    family = FAMILIES.get(said) if model_class is None else find_family(f"teacher {name}: model_class", model_class)
    if family is None or family.model_class.__name__ != said:
        allowed = ", ".join(FAMILIES) if family is None else family.model_class.__name__
        raise ValueError(f"teacher {name}: {folder} must hold one of {allowed} but got a {said!r}")
    model_class = model_class or said
    require_conditions(f"teacher {name}", model_class, config, shape)
    spec = ModelSpec(name=name, model_class=model_class, config=_own(name, folder, config, family, shape))
    return folder, spec, find_process(name, folder, root)


def load_pretrained(spec: TeacherSpec) -> nn.Module:
    """The model of a pretrained teacher, for images of the data's size. Raises ValueError like `fetch`."""
    assert spec.pretrained is not None
    variant = spec.pretrained.variant
    with as_safetensors(fetch(spec), variant) as folder:
        model: Any = load_model(folder, variant=variant)
    model.register_to_config(sample_size=data_shape(spec.data).image[1])  # pipelines sample what it says
    return model  # type: ignore[no-any-return]


def fetch(spec: TeacherSpec) -> Path:
    """The folder of a pretrained teacher's model; one of the hub is fetched, unless it was before.

    Raises ValueError when it cannot be fetched, is another architecture than the spec's, or was trained another way.
    """
    pretrained = spec.pretrained
    assert pretrained is not None
    if pretrained.shipped is not None:
        return component_folder(SHIPPED / pretrained.shipped)
    if pretrained.folder is not None:
        return Path(pretrained.folder)
    try:
        return _checked(spec, fetch_repository(pretrained))
    except ValueError as error:
        raise _named(spec, error) from error


def require_fetchable(spec: TeacherSpec) -> None:
    """Raises ValueError, in a line, unless a teacher of the hub is in the cache of this machine or can be fetched, and
    is what the spec says. Of one that is not in the cache only the small files are fetched.
    """
    pretrained = spec.pretrained
    if pretrained is None or pretrained.hub is None:
        return
    root = cached_repository(pretrained)
    try:
        if root is not None and _has_weights(root, pretrained):
            _checked(spec, root)
        else:
            _, model, process = _described(
                spec.name, fetch_configs(pretrained), pretrained.subfolder, data_shape(spec.data)
            )
            _require_same(spec, model, process)
    except ValueError as error:
        raise _named(spec, error) from error


def is_cached(spec: TeacherSpec) -> bool:
    """Whether a teacher of the hub is in the cache of this machine, with its weights."""
    assert spec.pretrained is not None
    root = cached_repository(spec.pretrained)
    return root is not None and _has_weights(root, spec.pretrained)


def _has_weights(root: Path, pretrained: Pretrained) -> bool:
    try:
        return bool(weight_files(root / (pretrained.subfolder or ""), pretrained.variant))
    except ValueError:
        return False


def _checked(spec: TeacherSpec, root: Path) -> Path:
    """The model's own folder in a repository, found to be what the spec says."""
    assert spec.pretrained is not None
    subfolder, variant = spec.pretrained.subfolder, spec.pretrained.variant
    found = find_pretrained(spec.name, root, subfolder, data_shape(spec.data), variant=variant)
    _require_same(spec, found.model, found.process)
    assert found.pretrained.folder is not None
    return Path(found.pretrained.folder)


def _require_same(spec: TeacherSpec, model: ModelSpec, process: Process | None) -> None:
    assert spec.pretrained is not None
    require_trained_like(spec.name, process, spec.process)
    theirs, ours = (count(one, data_shape(spec.data)) for one in (model, spec.model))
    if theirs != ours:
        raise ValueError(
            f"teacher {spec.name}: {spec.pretrained.hub} has {theirs.params} parameters, not {ours.params}"
        )


def _named(spec: TeacherSpec, error: ValueError) -> ValueError:
    said = " ".join(str(error).split())
    return ValueError(said if said.startswith(f"teacher {spec.name}: ") else f"teacher {spec.name}: {said}")


def _model_folder(name: str, root: Path, subfolder: str | None) -> Path:
    if subfolder is not None and (not isinstance(subfolder, str) or Path(subfolder).name != subfolder):
        raise ValueError(f"teacher {name}: subfolder must be the name of a folder but got {subfolder!r}")
    for inner in (subfolder,) if subfolder else ("", *_SUBFOLDERS):
        if (root / inner / "config.json").is_file():
            return root / inner
    raise ValueError(f"teacher {name}: folder must be a diffusers directory (with a config.json) but got {root}")


def _own(name: str, folder: Path, config: Mapping[str, Any], family: Family, shape: DataShape) -> dict[str, Any]:
    """What of the config does not follow from the data; what does must be what the data needs.

    diffusers says itself which keys it does not know and ignores.
    """
    known: dict[str, Any] = family.model_class.extract_init_dict(dict(config))[0]
    defaults, needed = inspect.signature(family.model_class.__init__).parameters, family.config(shape)
    for key, value in needed.items():
        found = known.get(key, defaults[key].default if key in defaults else value)
        if found != value and (key != "sample_size" or family.is_sized):
            raise ValueError(f"teacher {name}: {folder} has {key} {found!r}, but the data needs {value!r}")
    return {key: value for key, value in known.items() if key not in needed}
