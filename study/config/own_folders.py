"""What a user's folders say themselves: names of data and teachers, and the size of the images."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainables.checks import Raw

_INNER = ("", "unet", "transformer")


def completed(raw: Raw) -> dict[str, Any]:
    """The config with what it leaves to folders: the name of a teacher or of the data is its folder's, and the size of
    the images is what the first teacher that is there was made for.

    Raises ValueError where data.size is left out and no teacher says it.
    """
    teachers = raw.get("teachers")
    if isinstance(teachers, list):
        raw = {**raw, "teachers": [_named(one, "folder") for one in teachers]}
    data = raw.get("data")
    if not isinstance(data, Mapping):
        return dict(raw)
    data = _absolute(_named(data, "path"), "path")
    evaluation = raw.get("evaluation")
    if isinstance(evaluation, Mapping):
        for key in ("reference", "extractor_weights"):
            evaluation = _absolute(evaluation, key)
        raw = {**raw, "evaluation": evaluation}
    if "size" in data and data["size"] is None and data.get("shape") is None:
        data = {**data, "size": _size(raw.get("teachers"))}
    return {**raw, "data": data}


def _named(entry: Any, key: str) -> Any:
    """With the name of the folder under the key where it has none."""
    if not isinstance(entry, Mapping) or not isinstance(entry.get(key), str) or entry.get("name"):
        return entry
    name = re.sub(r"[^A-Za-z0-9_.=-]+", "_", Path(entry[key]).absolute().name).lstrip("_.=-")[:64]
    return {**entry, "name": name}


def _absolute(settings: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """With the whole path of what is there under the key: workers have another working directory."""
    path = settings.get(key)
    if not isinstance(path, str) or not path or not Path(path).exists():
        return settings
    return {**settings, key: str(Path(path).absolute())}


def _size(teachers: Any) -> int:
    for entry in teachers if isinstance(teachers, list) else ():
        if isinstance(entry, Mapping) and isinstance(entry.get("folder"), str):
            found = _sample_size(Path(entry["folder"]) / str(entry.get("subfolder") or ""))
            if found is not None:
                return found
    raise ValueError("data.size must be given, in pixels: no teacher among `teachers` is a folder that says it")


def _sample_size(root: Path) -> int | None:
    for inner in _INNER:
        try:
            said = json.loads((root / inner / "config.json").read_bytes()).get("sample_size")
        except (OSError, ValueError, AttributeError):
            continue
        if isinstance(said, list) and len(set(said)) == 1:
            said = said[0]
        if isinstance(said, int):
            return said
    return None
