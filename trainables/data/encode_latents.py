"""Images and prompts encoded into shards of latents, for data=latents (entry point: study/latents.py)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from storage import file_digest, read_sealed, sealed
from trainables.checks import require_text
from trainables.data.dataset import POOLED, TEXT, Dataset
from trainables.data.encode_text import EncodeText
from trainables.data.latents import (
    LATENTS,
    LOG_VARIANCE,
    MANIFEST,
    MIRRORED,
    MIRRORED_LOG_VARIANCE,
    NULL,
    PROMPTS,
    describe_shard,
)
from trainables.weights import as_safetensors

Tensors = dict[str, torch.Tensor]


def _encode(
    data: Dataset,
    vae: Any,
    encode_text: EncodeText | None,
    prompts: Sequence[str],
    indices: torch.Tensor,
    *,
    raw: Mapping[str, Any],
) -> Tensors:
    """The tensors of one shard, latents in float32; mirrored images are encoded too where the data mirrors them."""
    found: dict[str, list[torch.Tensor]] = {}
    for part in torch.split(indices, raw["batch_size"]):
        images = data.x_0(part).to(raw["device"]).expand(-1, vae.config.in_channels, -1, -1)
        tensors = dict(zip((LATENTS, LOG_VARIANCE), _posterior(vae, images), strict=True))
        if data.flip:
            tensors |= dict(zip((MIRRORED, MIRRORED_LOG_VARIANCE), _posterior(vae, images.flip(-1)), strict=True))
        if encode_text is not None:
            tensors |= encode_text([prompts[index] for index in part.tolist()])
        for name, value in tensors.items():
            found.setdefault(name, []).append(value)
    whole = {**{name: torch.cat(parts) for name, parts in found.items()}, **data.condition(indices)}
    return {name: value.contiguous().clone() for name, value in whole.items()}


def _posterior(vae: Any, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and log variance (B, C, H, W) of the latents, in the scale that the diffusion model sees."""
    with torch.inference_mode():
        posterior = vae.encode(images).latent_dist
    scale = vae.config.scaling_factor
    mean = (posterior.mean - (vae.config.shift_factor or 0.0)) * scale
    return mean.cpu(), (posterior.logvar + 2 * math.log(scale)).cpu()


def load_vae(raw: Mapping[str, Any]) -> Any:
    from diffusers import AutoencoderKL

    folder = Path(require_text("vae", raw["vae"], "a path"))
    try:
        with as_safetensors(folder) as safe:
            vae = AutoencoderKL.from_pretrained(
                safe, use_safetensors=True, local_files_only=True, low_cpu_mem_usage=False
            )
    except (OSError, ValueError) as error:
        said = " ".join(str(error).split())
        raise ValueError(f"vae must be a diffusers directory of an AutoencoderKL but got {folder}: {said}") from error
    return vae.eval().requires_grad_(False).to(raw["device"])


def load_prompts(raw: Mapping[str, Any], num_images: int) -> list[str]:
    """A line of the file for every image; none without a text encoder. Raises ValueError for another number."""
    if raw["text_encoder"] is None:
        return []
    prompts = Path(require_text("prompts", raw["prompts"], "a path")).read_text().splitlines()
    if len(prompts) != num_images:
        raise ValueError(f"prompts must have a line for each of the {num_images} images but has {len(prompts)}")
    return prompts


def check_shards(out: Path) -> int:
    manifest = read_sealed(MANIFEST, out / MANIFEST)
    shards = [*manifest["shards"], *(shard for name in PROMPTS for shard in manifest["prompts"].get(name, []))]
    for shard in shards:
        path = out / shard["name"]
        if not path.is_file() or file_digest(path) != shard["digest"]:
            print(f"{path} is missing or damaged: remove {path.with_suffix('.json').name} and run study.latents again")
            return 1
    print(f"{len(shards)} shards are what was written")
    return 0


def _save(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    import safetensors.torch

    from storage import new_file

    with new_file(path) as file:
        file.write(safetensors.torch.save(dict(tensors)))


def _write(path: Path, facts: Mapping[str, Any]) -> None:
    from storage import new_file

    with new_file(path) as file:
        file.write(sealed(path.name, facts))


def encode_shards(data: Dataset, vae: Any, encode_text: EncodeText | None, out: Path, raw: Mapping[str, Any]) -> None:
    """Encodes what is not encoded yet, a shard at a time, and writes the manifest at the end."""
    texts = load_prompts(raw, len(data))
    out.mkdir(parents=True, exist_ok=True)
    encode = partial(_encode, data, vae, encode_text, texts, raw=raw)
    shards = _written(out, "shard", len(data), raw, encode)
    prompts = {name: _encode_prompts(name, out, encode_text, raw) for name in PROMPTS if raw[name]}
    null = dict(data.null) | (encode_text([""]) if encode_text else {})
    null = {name: value[0] if name in (TEXT, POOLED) else value for name, value in null.items()}
    _save(out / NULL, null)
    if not (out / "vae").exists():
        vae.to("cpu").save_pretrained(out / "vae", safe_serialization=True)
    mirrored = {MIRRORED, MIRRORED_LOG_VARIANCE} if data.flip else set()
    tensors = sorted({LATENTS, LOG_VARIANCE, *mirrored, *null})
    facts = {"scaling_factor": vae.config.scaling_factor, "shift_factor": vae.config.shift_factor or 0.0}
    source = {"source": raw["data"].get("source", raw["data"].get("name")), **raw["data"]}
    known = {"shards": shards, "prompts": prompts, "tensors": tensors, "num_classes": data.num_classes}
    _write(out / MANIFEST, {**known, "source": source, **facts})


def _written(
    out: Path, name: str, num: int, raw: Mapping[str, Any], encode: Callable[[torch.Tensor], Tensors]
) -> list[dict[str, Any]]:
    """The shards of that name, of which those that are not there yet are encoded."""
    shards = []
    for number, start in enumerate(range(0, num, raw["shard_size"])):
        path = out / f"{name}-{number:05d}.safetensors"
        indices = torch.arange(start, min(start + raw["shard_size"], num))
        known = path.with_suffix(".json")
        if not known.exists():
            tensors = encode(indices)
            for key, tensor in tensors.items():
                if not tensor.isfinite().all():
                    raise ValueError(f"vae: {key} of {name} {start} to {int(indices[-1])} are not finite numbers")
            _save(path, tensors)
            _write(known, describe_shard(path, tensors))
        shards.append(read_sealed(known.name, known))
        print(f"{path}: {int(indices[-1]) + 1} of {num}")
    return shards


def _encode_prompts(
    name: str, out: Path, encode_text: EncodeText | None, raw: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Shards of the lines of a text file, without images."""
    if encode_text is None:
        raise ValueError(f"{name} needs a text_encoder but got {raw['text_encoder']!r}")
    texts = Path(require_text(name, raw[name], "null or the path of a text file")).read_text().splitlines()

    def encode(indices: torch.Tensor) -> Tensors:
        parts = [encode_text([texts[index] for index in part.tolist()])
                 for part in torch.split(indices, raw["batch_size"])]  # fmt: skip
        return {key: torch.cat([part[key] for part in parts]).contiguous().clone() for key in parts[0]}

    return _written(out, name, len(texts), raw, encode)
