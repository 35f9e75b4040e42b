"""A new user's first five minutes, from the wheel, in a folder outside of the checkout: tests/walk.sh."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pyarrow.dataset as ds
import pytest

ROOT = Path(__file__).parents[1]
PARTS = (
    "study",
    "trainables",
    "search_spaces",
    "analysis",
    "storage",
    "kd_study.py",
    "pyproject.toml",
    "README.md",
    "LICENSE",
)


def run(*command: object, cwd: Path, **settings: object) -> str:
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, capture_output=True, text=True, check=False, timeout=900, **settings
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def environment_with_the_wheel(folder: Path) -> Path:
    """A fresh virtual environment with the wheel of the checkout; what else it needs it takes from the running one."""
    source = folder / "source"
    source.mkdir()
    for name in PARTS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    wheel = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, source)
    run(*wheel, cwd=folder, env={**os.environ, "SETUPTOOLS_SCM_PRETEND_VERSION": "0"})  # the copy has no git tags
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", *folder.glob("*.whl"), cwd=folder)
    own = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    (own / "of_the_tests.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "venv"


@pytest.mark.full
def test_own_loss_own_images_and_own_model_from_the_wheel(tmp_path: Path) -> None:
    made, home = environment_with_the_wheel(tmp_path), tmp_path / "home"
    home.mkdir()
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment["PATH"] = f"{made / 'bin'}{os.pathsep}{environment['PATH']}"
    where = run(made / "bin" / "python", "-c", "import study; print(study.__file__)", cwd=home, env=environment)
    assert Path(where.strip()).is_relative_to(made)  # the wheel's, and not the checkout's
    said = run("bash", ROOT / "tests" / "walk.sh", cwd=home, env=environment)
    assert "ok    two ranks equal one" in said
    assert "9 members" in said
    rows = ds.dataset(home / "studies" / "mine" / "records" / "runs").to_table().to_pylist()
    assert {row["method"] for row in rows} == {"diffusion_only", "out_kd", "mine"}
    assert {row["output"] for row in rows if row["method"] == "mine"} == {"my_losses:cosine"}
    assert all(row["fid"] is not None and row["fid"] > 0 for row in rows)
    assert (home / "studies" / "mine" / "report" / "index.html").is_file()


def test_the_readme_quotes_the_walk() -> None:
    quoted = (ROOT / "study" / "README.md").read_text().partition("## Yours in five minutes")[2].partition("\n## ")[0]
    lines = [line.strip() for line in quoted.splitlines() if line.startswith("    ")]
    script = (ROOT / "tests" / "walk.sh").read_text()
    assert len(lines) >= 8
    assert [line for line in lines if line not in script] == []
