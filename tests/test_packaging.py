"""What is packed, and what is said of it."""

import re
import subprocess
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_file_that_the_packages_read_is_packed() -> None:
    """package-data names them; a file of another kind in a package is packed by nobody."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    missing = []
    for package in ("study", "trainables", "search_spaces", "analysis", "storage"):
        patterns = PROJECT["tool"]["setuptools"]["package-data"].get(package, [])
        packed = {path for pattern in patterns for path in (ROOT / package).glob(pattern)}
        own = [ROOT / name for name in listed if name.startswith(f"{package}/")]
        missing += [path for path in own if path.suffix not in (".py", ".md", ".png") and path not in packed]
    assert missing == []


def test_the_version_that_is_said_is_one() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]
    assert PROJECT["tool"]["setuptools_scm"]["fallback_version"] == citation
    assert re.search(rf"^## {re.escape(citation)}", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
