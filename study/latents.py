"""python -m study.latents data=... vae=<folder> out=<folder>: encodes a data set once, for data=latents.

Run again, it goes on after the last whole shard. Means and variances of the autoencoder's posterior are kept.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from study.config.command_line import compose, entry_point, one_line
from trainables.checks import check_keys, mapping, require_choice, require_text, require_whole
from trainables.data import load_data, make_data
from trainables.data.encode_latents import check_shards, encode_shards, load_text_encoder, load_vae
from trainables.data.latents import PROMPTS

_KEYS = [
    "data",
    "vae",
    "out",
    "text_encoder",
    "tokenizer",
    "prompts",
    *PROMPTS,
    "shard_size",
    "batch_size",
    "device",
    "check",
]


def main(argv: list[str]) -> int:
    """Encodes what is not encoded yet; with check=true names the first shard that is damaged (exit code 1)."""
    raw = _plain(argv)
    out = Path(require_text("out", raw["out"], "a path"))
    if raw["check"]:
        return check_shards(out)
    data, vae = load_data(make_data(mapping(raw, "data"))), load_vae(raw)
    encode_text = load_text_encoder(raw, len(data))
    encode_shards(data, vae, encode_text, out, raw)
    return 0


def _plain(argv: list[str]) -> dict[str, Any]:
    cfg = compose("latents", argv)
    try:
        raw: Any = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ValueError(f"{error.full_key or 'the config'}: {one_line(error)}") from error
    check_keys("the config", raw, _KEYS)
    for key in ("shard_size", "batch_size"):
        require_whole(key, raw[key], 1)
    require_choice("device", raw["device"], ("cpu", "cuda"))
    return dict(raw)


if __name__ == "__main__":
    entry_point(main)
