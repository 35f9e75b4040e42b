"""One evaluation protocol in a study directory: FIDs of different protocols can be in no report together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis.records.protocol import protocol_of, protocols_of
from analysis.records.rows import read_runs
from trainables.specs import canonical_json


def require_protocol(study_dir: Path, identity: Mapping[str, Any]) -> None:
    """Raises ValueError where rows of the study were evaluated otherwise than `identity` (of any planned member) says.

    The message names the first key that differs, its value in the rows and the value that was asked for.
    """
    wanted = protocol_of(json.loads(canonical_json({key: identity[key] for key in ("data", "evaluation")})))
    for found in protocols_of(read_runs(study_dir)):
        for key in sorted({*wanted, *found}):
            if wanted.get(key) != found.get(key):
                raise ValueError(
                    f"{key} must be {found.get(key)} as in the rows of {study_dir}, whose FIDs no others can be"
                    f" compared with, but got {wanted.get(key)}; give another study_dir"
                )
