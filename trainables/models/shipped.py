"""The teachers of the embedded study, which come with the package: trained once, fixed, several sizes and seeds.

`trainables/training/train_digits_teachers.py` is how they came about; `digits_teachers/facts.json` says what they are.
Weights are kept in half precision and loaded in float32; the digest in the facts is of what is loaded.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

SHIPPED = Path(__file__).parent / "digits_teachers"


def shipped_teacher(name: Any, seed: int) -> Path:
    """The diffusers directory of the shipped teacher of that name and training seed. Raises ValueError without one."""
    names = sorted({facts["name"] for facts in shipped_facts().values()})
    if name not in names:
        raise ValueError(f"a shipped teacher must be one of {', '.join(names)} but got {name!r}")
    seeds = sorted(facts["seed"] for facts in shipped_facts().values() if facts["name"] == name)
    if seed not in seeds:
        allowed = ", ".join(map(str, seeds))
        raise ValueError(f"teacher_seeds must be among {allowed} for the shipped teacher {name} but got {seed}")
    return SHIPPED / folder_name(name, seed)


def folder_name(name: str, seed: int) -> str:
    return f"{name}-seed{seed}"


@cache
def shipped_facts() -> dict[str, dict[str, Any]]:
    """By folder: name, seed, params, digest (sha256 of the float32 tensors), steps, fid, precision_, recall."""
    found: dict[str, dict[str, Any]] = json.loads((SHIPPED / "facts.json").read_bytes())
    return found
