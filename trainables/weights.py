"""The weight files of a diffusers model: which they are, whether they can be loaded, and torch's own as safetensors."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import nn

_NAME = "diffusion_pytorch_model"
_ENDINGS = ("safetensors", "bin")  # bin: torch's own, of which nothing but tensors is read
_POINTER = b"version https://git-lfs"


def weight_files(folder: Path, variant: str | None) -> list[Path]:
    """The weights of the variant (fp16, non_ema, ...; None: the plain ones), in one piece or in shards; safetensors
    files, or torch's own where there are no others.

    Raises ValueError that says what is there in their place.
    """
    suffix = f".{variant}" if variant else ""
    for ending in _ENDINGS:
        whole, index = folder / f"{_NAME}{suffix}.{ending}", folder / f"{_NAME}.{ending}.index{suffix}.json"
        if whole.is_file():
            return [whole]
        if whole.is_symlink():
            raise ValueError(f"{whole} is a link to {whole.readlink()}, which is not there")
        if index.is_file():
            return _shards(folder, index)
    raise ValueError(f"{folder} has no weights{f' of variant {variant}' * bool(variant)}{_instead(folder)}")


def _shards(folder: Path, index: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{index} cannot be read: {error}") from error
    missing = [name for name in names if Path(name).name != name or not (folder / name).is_file()]
    if missing:
        raise ValueError(f"{folder} lacks {missing[0]}, which {index.name} names")
    return [folder / name for name in names]


def _instead(folder: Path) -> str:
    names = sorted(path.name for path in folder.glob(f"{_NAME}*"))
    loaded = [name for name in names if name.endswith(tuple(f".{ending}" for ending in _ENDINGS))]
    variants = sorted({name.split(".")[1] for name in loaded if name.count(".") == 2})
    if variants:
        return f", but those of variant {' and '.join(variants)}: say variant: {variants[0]}"
    if loaded:
        return f", but {loaded[0]}: leave variant out"
    return f", and others are not loaded: {', '.join(names)}" if names else ""


def check_weights(files: list[Path], model: nn.Module) -> None:
    """Raises ValueError naming a file that cannot be read, or a tensor of the model (on meta) that the files lack."""
    found: dict[str, list[int]] = {}
    for path in files:
        found |= _shapes(path)
    for name, tensor in model.state_dict().items():
        shape = found.get(name, found.get(_old_name(name)))
        if shape is None:
            raise ValueError(f"{files[0].parent} lacks the weights {name}")
        if shape != list(tensor.shape):
            raise ValueError(f"{files[0].parent} has {name} of shape {shape}, but the model {list(tensor.shape)}")


def _shapes(path: Path) -> dict[str, list[int]]:
    with path.open("rb") as file:
        if file.read(len(_POINTER)) == _POINTER:
            raise ValueError(f"{path} is a pointer of Git LFS and not the weights: git lfs pull fetches them")
    if path.suffix == ".bin":
        return {name: list(tensor.shape) for name, tensor in _read_tensors(path, "meta").items()}
    try:
        with safetensors.safe_open(path, framework="pt") as opened:
            return {name: list(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
    except (OSError, safetensors.SafetensorError) as error:
        raise ValueError(f"{path} cannot be read, it may be cut off: {error}") from error


def _read_tensors(path: Path, device: str) -> dict[str, torch.Tensor]:
    """What torch.save wrote. Raises ValueError for a file that holds, or would run, anything but tensors by name."""
    try:
        found = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # a file that is something else fails in many ways
        cause = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path} was not loaded, it must hold tensors alone: {cause}") from error
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise ValueError(f"{path} was not loaded, it must hold tensors alone but holds other things, too")
    return found


@contextmanager
def as_safetensors(folder: Path, variant: str | None = None) -> Iterator[Path]:
    """A model's folder with safetensors weights: itself, or a copy for as long as the block lasts.

    Raises ValueError like `weight_files`, and for a file of torch's that holds anything but tensors.
    """
    files = weight_files(folder, variant)
    if files[0].suffix == ".safetensors":
        yield folder
        return
    tensors = {name: tensor for path in files for name, tensor in _read_tensors(path, "cpu").items()}
    with tempfile.TemporaryDirectory() as place:
        shutil.copy(folder / "config.json", place)
        copy = Path(place, f"{_NAME}{f'.{variant}' if variant else ''}.safetensors")
        safetensors.torch.save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, copy)
        del tensors
        yield Path(place)


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
