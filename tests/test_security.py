"""Nothing that a file says is run, nothing that a name says becomes a path, and nobody gets in without the token."""

import ast
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from smallest_model import SMALLEST

import study
from analysis.figures.errors import read_error_maps
from study.config.command_line import compose
from study.config.parse import study_config, write_study_yaml
from study.execution.cluster import require_reachable
from trainables.data import DataShape
from trainables.evaluation.extractors.inception import read_tensors
from trainables.evaluation.reference_file import sealed_tensors
from trainables.models import build_model, load_model
from trainables.models.pretrained import find_pretrained
from trainables.models.saved import load_student, sealed
from trainables.training.checkpoints import Checkpoints, is_complete, run_ids

ROOT = Path(study.__file__).parent.parent
SOURCES = sorted(
    path
    for name in ("study", "trainables", "analysis", "search_spaces", "storage")
    for path in (ROOT / name).rglob("*.py")
)
FORBIDDEN = {
    *("eval", "exec", "compile", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load", "yaml.full_load"),
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "cloudpickle.load", "cloudpickle.loads", "joblib.load"),
    *("marshal.loads", "dill.loads", "shelve.open", "torch.jit.load", "pd.read_pickle"),
}
ONLY_WITH = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}


def calls(path: Path) -> list[tuple[str, ast.Call]]:
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return [(ast.unparse(node.func), node) for node in nodes]


@pytest.mark.parametrize("path", SOURCES, ids=[str(path.relative_to(ROOT)) for path in SOURCES])
def test_no_source_unpickles_evaluates_or_starts_a_shell(path: Path) -> None:
    for name, call in calls(path):
        keywords = {keyword.arg: getattr(keyword.value, "value", None) for keyword in call.keywords}
        assert name not in FORBIDDEN, f"line {call.lineno}: {name}"
        assert keywords.get("shell") is not True, f"line {call.lineno}: shell=True"
        if name in ONLY_WITH:
            keyword, value = ONLY_WITH[name]
            assert keywords.get(keyword) is value, f"line {call.lineno}: {name} without {keyword}={value}"


class Trap:
    """Unpickling this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_a_pickle_is_run_nowhere(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    trap = pickle.dumps(Trap(sprung))

    student = tmp_path / "student"
    (student / "unet").mkdir(parents=True)
    facts = {"digest": "", "curve": [], "train_seconds": 1.0, "dtype": "float32", "files": {}}
    (student / "training.json").write_bytes(sealed(student.name, facts))
    (student / "unet" / "config.json").write_text(json.dumps({"_class_name": "UNet2DModel"}))
    for name in ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"):
        (student / "unet" / name).write_bytes(trap)
        with pytest.raises(ValueError, match=f"{student}.* does not hold a diffusers model"):
            load_student(student)

    for suffix in ("pth", "safetensors"):
        (tmp_path / f"extractor.{suffix}").write_bytes(trap)
        with pytest.raises(ValueError, match="was not loaded"):
            read_tensors(tmp_path / f"extractor.{suffix}")
    with pytest.raises(ValueError, match="does not hold tensors"):
        sealed_tensors(tmp_path / "extractor.pth")

    np.savez(tmp_path / "maps.npz", timesteps=np.array([Trap(sprung)], dtype=object), squared_error=np.zeros((1, 2, 2)))
    with pytest.raises(ValueError, match="does not hold error maps"):
        read_error_maps(tmp_path / "maps.npz")

    checkpoint = tmp_path / "pack" / "step-00000001"
    checkpoint.mkdir(parents=True)
    for name in ("state.safetensors", "members.json", "complete.json"):
        (checkpoint / name).write_bytes(trap)
    assert not is_complete(checkpoint)
    assert run_ids(Checkpoints(tmp_path / "pack", 1).folder) is None
    assert not sprung.exists()
    pickle.loads(trap)  # noqa: S301 (the trap works)
    assert sprung.exists()


def test_weights_are_not_loaded_from_a_pickle_even_where_it_is_honest(tmp_path: Path) -> None:
    shape = DataShape(image=(1, 8, 8))
    model = build_model(SMALLEST, shape, seed=0)
    model.save_pretrained(tmp_path, safe_serialization=False)
    assert list(tmp_path.glob("*.bin"))
    with pytest.raises(ValueError, match="does not hold a diffusers model with safetensors weights"):
        load_model(tmp_path)
    (honest,) = tmp_path.glob("*.bin")
    assert find_pretrained("mine", tmp_path, None, shape).pretrained.folder == str(tmp_path)  # tensors by name
    torch.save({"weight": Path("not a tensor")}, honest)
    with pytest.raises(ValueError, match="was not loaded, it must hold tensors alone"):
        find_pretrained("mine", tmp_path, None, shape)


@pytest.mark.parametrize(
    "override", ["study=${oc.env:SECRET}", "+x=${oc.env:SECRET,none}", "study_dir=/tmp/${oc.env:SECRET}"]
)
def test_no_secret_of_the_environment_gets_into_the_study(
    override: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    config = compose("config", [override])
    for use in (study_config, lambda cfg: write_study_yaml(cfg, tmp_path)):
        with pytest.raises(ValueError, match=r"oc\.env:SECRET") as refused:
            use(config)
        assert "hunter2" not in str(refused.value)
    assert not list(tmp_path.rglob("*.yaml"))


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.1"])
def test_an_opened_dashboard_comes_with_a_warning(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    overrides = [f"cluster.dashboard_host={host}", "teachers=[unet_16]"]
    require_reachable(study_config(compose("config", overrides)).cluster)
    assert f"warning: cluster.dashboard_host={host} opens the dashboard" in capsys.readouterr().err
    require_reachable(study_config(compose("config", ["teachers=[unet_16]"])).cluster)
    assert capsys.readouterr().err == ""


REQUESTS = """
import sys, urllib.error, urllib.request
from study.execution.cluster import connected
from study.config.study import ClusterConfig
config = ClusterConfig(address="local", num_workers=1, cpus_per_worker=1, gpus_per_worker=0, dashboard_host="127.0.0.1")
with connected(config) as cluster:
    print(cluster.dashboard_url)
    for path in ("/api/jobs/", "/nodes?view=summary", "/api/v0/actors", "/api/version"):
        try:
            print(path, urllib.request.urlopen(cluster.dashboard_url + path, timeout=20).status)
        except urllib.error.HTTPError as error:
            print(path, error.code)
"""


@pytest.mark.full
def test_the_dashboard_is_on_loopback_and_asks_for_the_token() -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    result = subprocess.run(
        [sys.executable, "-c", REQUESTS], capture_output=True, text=True, timeout=180, check=True, env=environment
    )
    url, *answers = result.stdout.split("\n")[:5]
    assert url.startswith("http://127.0.0.1:")
    assert [line.split()[-1] for line in answers] == ["401"] * 4, result.stdout


@pytest.mark.full
def test_names_in_records_write_nowhere_else(tmp_path: Path) -> None:
    from analysis.records.rows import RUN_SCHEMA, write_run
    from analysis.report.write import write_report

    kinds = {"string": "../../../climb", "int32": 1, "int64": 1, "double": 1.0, "bool": False}
    study_dir = tmp_path / "a" / "b" / "study"
    for seed in range(2):
        row = {field.name: kinds[str(field.type)] for field in RUN_SCHEMA if not field.nullable}
        del row["schema_version"]
        row |= {"run_id": f"{seed:016x}", "status": "ok", "phase": "grid", "seed": seed, "fid": 30.0 + seed}
        row["member"] = json.dumps({"method": "../../../climb", "teacher": "../../../climb", "seed": seed})
        write_run(study_dir, row | {"teacher": "../../../climb", "teacher_params": 5, "capacity_gap": 5.0})
    write_report([study_dir], study_dir / "report")
    outside = [path for path in tmp_path.rglob("*") if path.is_file() and study_dir not in path.parents]
    assert outside == []
    assert (study_dir / "report" / "index.html").exists()


def test_tune_copies_no_credentials_of_the_environment() -> None:
    """What Tune copies goes into runtime environments, which Ray writes into its logs."""
    from ray.tune.execution import class_cache

    import study.execution.run_packs

    assert study.execution.run_packs.run_trials
    assert class_cache.ENV_VARS_TO_PROPAGATE
    assert not [name for name in class_cache.ENV_VARS_TO_PROPAGATE if name.startswith("AWS_")]
