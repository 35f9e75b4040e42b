"""kd-study latents data=... vae=<folder> out=<folder>: encodes a data set once, for data=latents.

`python -m study.latents` is the same. Run again, it goes on after the last whole shard. Means and variances of the
autoencoder's posterior are kept.

    kd-study latents data=folder data.name=mine data.path=/images data.size=256 vae=/models/vae out=/latents device=cuda
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from study.config.command_line import compose, entry_point, plain
from trainables.checks import check_keys, mapping, require_device, require_text, require_whole
from trainables.data import load_data, make_data
from trainables.data.encode_latents import check_shards, encode_shards, load_prompts, load_vae
from trainables.data.encode_text import load_text_encoder
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
    raw = _checked(argv)
    out = Path(require_text("out", raw["out"], "a path"))
    if raw["check"]:
        return check_shards(out)
    data = load_data(make_data(mapping(raw, "data")))
    load_prompts(raw, len(data))  # before the encoders, which take a while to load
    vae, encode_text = load_vae(raw), load_text_encoder(raw)
    encode_shards(data, vae, encode_text, out, raw)
    return 0


def _checked(argv: list[str]) -> dict[str, Any]:
    raw = plain(compose("latents", argv))
    check_keys("the config", raw, _KEYS)
    for key in ("shard_size", "batch_size"):
        require_whole(key, raw[key], 1)
    require_device("device", raw["device"])
    return raw


if __name__ == "__main__":
    entry_point(main)
