"""The weight files of a diffusers model: which they are, and whether they can be loaded, from their headers alone."""

import hashlib
import json
from pathlib import Path

import safetensors
from torch import nn

_NAME, _INDEX = "diffusion_pytorch_model", "diffusion_pytorch_model.safetensors.index"
_POINTER = b"version https://git-lfs"


def weight_files(folder: Path, variant: str | None) -> list[Path]:
    """The safetensors files of the variant (fp16, non_ema, ...; None: the plain ones), in one piece or in shards.

    Raises ValueError that says what is there in their place.
    """
    suffix = f".{variant}" if variant else ""
    whole, index = folder / f"{_NAME}{suffix}.safetensors", folder / f"{_INDEX}{suffix}.json"
    if whole.is_file():
        return [whole]
    if whole.is_symlink():
        raise ValueError(f"{whole} is a link to {whole.readlink()}, which is not there")
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{index} cannot be read: {error}") from error
        missing = [name for name in names if Path(name).name != name or not (folder / name).is_file()]
        if missing:
            raise ValueError(f"{folder} lacks {missing[0]}, which {index.name} names")
        return [folder / name for name in names]
    raise ValueError(f"{folder} has no safetensors weights{f' of variant {variant}' * bool(variant)}{_instead(folder)}")


def _instead(folder: Path) -> str:
    names = sorted(path.name for path in folder.glob(f"{_NAME}*"))
    variants = [name.split(".")[1] for name in names if name.endswith(".safetensors") and name.count(".") == 2]
    if variants:
        return f", but those of variant {' and '.join(variants)}: say variant: {variants[0]}"
    if f"{_NAME}.safetensors" in names:
        return f", but {_NAME}.safetensors: leave variant out"
    others = ", and others are not loaded"
    return f"{others}: {', '.join(names)}; save it anew with safe_serialization=True" if names else others


def check_weights(files: list[Path], model: nn.Module) -> None:
    """Raises ValueError naming a file that cannot be read, or a tensor of the model (on meta) that the files lack."""
    found: dict[str, list[int]] = {}
    for path in files:
        with path.open("rb") as file:
            if file.read(len(_POINTER)) == _POINTER:
                raise ValueError(f"{path} is a pointer of Git LFS and not the weights: git lfs pull fetches them")
        try:
            with safetensors.safe_open(path, framework="pt") as opened:
                found |= {name: list(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
        except (OSError, safetensors.SafetensorError) as error:
            raise ValueError(f"{path} cannot be read, it may be cut off: {error}") from error
    for name, tensor in model.state_dict().items():
        shape = found.get(name, found.get(_old_name(name)))
        if shape is None:
            raise ValueError(f"{files[0].parent} lacks the weights {name}")
        if shape != list(tensor.shape):
            raise ValueError(f"{files[0].parent} has {name} of shape {shape}, but the model {list(tensor.shape)}")


def _old_name(name: str) -> str:
    """What diffusers called a weight of an attention block before (google/ddpm-*); it renames them as it loads."""
    for new, old in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
        name = name.replace(f".{new}.", f".{old}.")
    return name


def weight_digest(config: Path, files: list[Path]) -> str:
    """sha256 of the config and the weights."""
    digest = hashlib.sha256()
    for path in (config, *files):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
