"""Prompts encoded for data=latents: by one CLIP encoder, or by the three of Stable Diffusion 3."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from trainables.checks import require_text
from trainables.data.dataset import POOLED, TEXT

EncodeText = Callable[[Sequence[str]], dict[str, torch.Tensor]]
_T5_TOKENS = 256  # as Stable Diffusion 3's pipeline
_THREE = "a path, or three of them: CLIP, CLIP and T5, in the order of Stable Diffusion 3"


def load_text_encoder(raw: Mapping[str, Any]) -> EncodeText | None:
    """texts -> encoder_hidden_states (B, L, D), and pooled_projections (B, P) where the encoder projects; on the CPU.

    Three encoders are joined as in Stable Diffusion 3 (Esser et al. 2024): the next to last layers of both CLIPs beside
    each other, filled up with zeros to the width of T5, before the tokens of T5; their projections beside each other.
    L is then the tokens of CLIP and 256. Raises ValueError naming the key.
    """
    if raw["text_encoder"] is None:
        return None
    folders, tokenizers = _paths(raw, "text_encoder"), _paths(raw, "tokenizer")
    if len(folders) != len(tokenizers):
        raise ValueError(f"tokenizer must be of the {len(folders)} text_encoder, but got {len(tokenizers)}")
    encoders = [_load(folder, tokenizer, raw["device"]) for folder, tokenizer in zip(folders, tokenizers, strict=True)]
    if len(encoders) == 1:
        return encoders[0].alone
    if [encoder.is_t5 for encoder in encoders] != [False, False, True] or not encoders[0].projects & encoders[
        1
    ].projects:
        raise ValueError(f"text_encoder must be {_THREE}, both with projection, but got {', '.join(map(str, folders))}")
    clips, t5 = encoders[:2], encoders[2]

    def encode(texts: Sequence[str]) -> dict[str, torch.Tensor]:
        both = [clip.next_to_last(texts) for clip in clips]
        of_clip, of_t5 = torch.cat([hidden for hidden, _ in both], dim=2), t5.last(texts)
        of_clip = torch.nn.functional.pad(of_clip, (0, of_t5.shape[2] - of_clip.shape[2]))
        # In half precision: 333 tokens of 4096 numbers are 2.7 MB an image so.
        text = torch.cat([of_clip, of_t5], dim=1).to(torch.float16)
        return {TEXT: text, POOLED: torch.cat([pooled for _, pooled in both], dim=1)}

    return encode


@dataclass(frozen=True)
class _Encoder:
    model: Any
    tokenizer: Any
    device: str
    is_t5: bool
    projects: bool

    def alone(self, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        found = self._run(texts)
        pooled = {POOLED: found.text_embeds.cpu()} if self.projects else {}
        return {TEXT: found.last_hidden_state.cpu(), **pooled}

    def last(self, texts: Sequence[str]) -> torch.Tensor:
        hidden: torch.Tensor = self._run(texts).last_hidden_state.cpu()
        return hidden

    def next_to_last(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """The layer's output, and the projection."""
        found = self._run(texts, output_hidden_states=True)
        return found.hidden_states[-2].cpu(), found.text_embeds.cpu()

    def _run(self, texts: Sequence[str], **settings: bool) -> Any:
        if self.is_t5:
            length = _T5_TOKENS
        else:
            length = min(self.tokenizer.model_max_length, self.model.config.max_position_embeddings)
        tokens = self.tokenizer(
            list(texts), padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        )
        with torch.inference_mode():
            return self.model(tokens.input_ids.to(self.device), **settings)


def _paths(raw: Mapping[str, Any], key: str) -> list[Path]:
    found = raw[key] if isinstance(raw[key], list) else [raw[key]]
    if len(found) not in (1, 3):
        raise ValueError(f"{key} must be {_THREE}, but got {len(found)}")
    return [Path(require_text(key, path, _THREE)) for path in found]


def _load(folder: Path, tokenizer: Path, device: str) -> _Encoder:
    try:
        from transformers import AutoTokenizer, CLIPTextModel, CLIPTextModelWithProjection, T5EncoderModel
    except ImportError as error:
        raise ValueError("text_encoder needs the extra: pip install '.[text]'") from error
    try:
        config = json.loads((folder / "config.json").read_text())
        is_t5 = config.get("model_type") == "t5"
        projects = "CLIPTextModelWithProjection" in (config.get("architectures") or [])
        model_class = T5EncoderModel if is_t5 else CLIPTextModelWithProjection if projects else CLIPTextModel
        model: Any = model_class.from_pretrained(folder, use_safetensors=True, local_files_only=True)
    except (OSError, ValueError) as error:
        said = " ".join(str(error).split())
        raise ValueError(f"text_encoder must be a transformers directory but got {folder}: {said}") from error
    try:
        words = AutoTokenizer.from_pretrained(tokenizer, local_files_only=True)
    except (OSError, ValueError) as error:
        said = " ".join(str(error).split())
        raise ValueError(f"tokenizer must be a transformers directory but got {tokenizer}: {said}") from error
    return _Encoder(model.eval().requires_grad_(False).to(device), words, device, is_t5, projects)
