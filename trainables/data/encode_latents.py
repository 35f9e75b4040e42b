"""Images and prompts encoded into shards of latents, for data=latents (entry point: study/latents.py)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from storage import file_digest, read_sealed, sealed
from trainables.checks import require_text
from trainables.data.dataset import POOLED, TEXT, Dataset
from trainables.data.latents import LATENTS, MANIFEST, NULL, describe_shard

Tensors = dict[str, torch.Tensor]


def _encode(
    data: Dataset, vae: Any, encode_text: Callable[..., Tensors] | None, indices: torch.Tensor, raw: Mapping[str, Any]
) -> Tensors:
    """The tensors of one shard, float32."""
    latents, texts = [], []
    channels = vae.config.in_channels
    for part in torch.split(indices, raw["batch_size"]):
        images = data.x_0(part).to(raw["device"]).expand(-1, channels, -1, -1)
        with torch.inference_mode():
            mean = vae.encode(images).latent_dist.mean
        latents.append(((mean - (vae.config.shift_factor or 0.0)) * vae.config.scaling_factor).cpu())
        if encode_text is not None:
            texts.append(encode_text(None, part))
    tensors = {LATENTS: torch.cat(latents), **data.condition(indices)}
    for name in texts[0] if texts else ():
        tensors[name] = torch.cat([text[name] for text in texts])
    return {name: value.contiguous().clone() for name, value in tensors.items()}


def load_vae(raw: Mapping[str, Any]) -> Any:
    from diffusers import AutoencoderKL

    folder = require_text("vae", raw["vae"], "a path")
    try:
        vae = AutoencoderKL.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, low_cpu_mem_usage=False
        )
    except (OSError, ValueError) as error:
        raise ValueError(f"vae must be a diffusers directory of an AutoencoderKL but got {folder}: {error}") from error
    return vae.eval().requires_grad_(False).to(raw["device"])


def load_text_encoder(raw: Mapping[str, Any], num_images: int) -> Callable[..., Tensors] | None:
    """(texts, or None for the prompts of indices) -> encoder_hidden_states, and pooled_projections where there are."""
    if raw["text_encoder"] is None:
        return None
    try:
        from transformers import AutoTokenizer, CLIPTextModel, CLIPTextModelWithProjection
    except ImportError as error:
        raise ValueError("text_encoder needs the extra: pip install '.[text]'") from error
    folder, where = Path(require_text("text_encoder", raw["text_encoder"], "a path")), raw["device"]
    tokenizer = AutoTokenizer.from_pretrained(require_text("tokenizer", raw["tokenizer"], "a path"))
    config = json.loads((folder / "config.json").read_text())
    projects = "CLIPTextModelWithProjection" in config.get("architectures", [])
    model_class = CLIPTextModelWithProjection if projects else CLIPTextModel
    model: Any = model_class.from_pretrained(folder, use_safetensors=True, local_files_only=True).eval().to(where)
    prompts = Path(require_text("prompts", raw["prompts"], "a path")).read_text().splitlines()
    if len(prompts) != num_images:
        raise ValueError(f"prompts must have a line for each of the {num_images} images but has {len(prompts)}")

    def encode(texts: list[str] | None, indices: torch.Tensor | None) -> Tensors:
        wanted = texts if indices is None else [prompts[index] for index in indices.tolist()]
        length = min(tokenizer.model_max_length, model.config.max_position_embeddings)
        tokens = tokenizer(wanted, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        with torch.inference_mode():
            found = model(tokens.input_ids.to(where))
        pooled = {POOLED: found.text_embeds.cpu()} if projects else {}
        return {TEXT: found.last_hidden_state.cpu(), **pooled}

    return encode


def check_shards(out: Path) -> int:
    manifest = read_sealed(MANIFEST, out / MANIFEST)
    for shard in manifest["shards"]:
        path = out / shard["name"]
        if not path.is_file() or file_digest(path) != shard["sha256"]:
            print(f"{path} is missing or damaged: remove {path.with_suffix('.json').name} and run study.latents again")
            return 1
    print(f"{len(manifest['shards'])} shards are what was written")
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


def encode_shards(
    data: Dataset, vae: Any, encode_text: Callable[..., Tensors] | None, out: Path, raw: Mapping[str, Any]
) -> None:
    """Encodes what is not encoded yet, a shard at a time, and writes the manifest at the end."""
    out.mkdir(parents=True, exist_ok=True)
    shards = []
    for number, start in enumerate(range(0, len(data), raw["shard_size"])):
        path = out / f"shard-{number:05d}.safetensors"
        indices = torch.arange(start, min(start + raw["shard_size"], len(data)))
        known = path.with_suffix(".json")
        if not known.exists():
            tensors = _encode(data, vae, encode_text, indices, raw)
            for name, tensor in tensors.items():
                if not tensor.isfinite().all():
                    raise ValueError(f"vae: {name} of images {start} to {int(indices[-1])} are not finite numbers")
            _save(path, tensors)
            _write(known, describe_shard(path, tensors))
        shards.append(read_sealed(known.name, known))
        print(f"{path}: {int(indices[-1]) + 1} of {len(data)}")
    null = dict(data.null) | (encode_text([""] if raw["prompts"] else None, None) if encode_text else {})
    null = {name: value[0] if name in (TEXT, POOLED) else value for name, value in null.items()}
    _save(out / NULL, null)
    if not (out / "vae").exists():
        vae.to("cpu").save_pretrained(out / "vae", safe_serialization=True)
    first = sorted({LATENTS, *null})
    facts = {"scaling_factor": vae.config.scaling_factor, "shift_factor": vae.config.shift_factor or 0.0}
    source = {"source": raw["data"].get("source", raw["data"].get("name")), **raw["data"]}
    _write(
        out / MANIFEST, {"shards": shards, "tensors": first, "num_classes": data.num_classes, "source": source, **facts}
    )
