"""Fixtures of the analysis tests: study directories with known rows."""

from __future__ import annotations

from pathlib import Path

import pytest
from synthetic_study import toy_rows, write_study


@pytest.fixture
def study_dir(tmp_path: Path) -> Path:
    """A study directory with ok, collapsed and diverged rows."""
    return write_study(tmp_path / "study", toy_rows())
