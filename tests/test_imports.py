"""The arrows of the design: what each wing may import, read from the source."""

import ast
import subprocess
import sys
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("study", "trainables", "search_spaces", "analysis", "storage")
FORBIDDEN = {
    "analysis": {"study", "trainables", "search_spaces", "torch", "torchvision", "ray", "diffusers", "hydra"},
    "search_spaces": {"study", "trainables", "analysis", "torch", "torchvision", "ray", "diffusers", "hydra"},
    "trainables": {"study", "analysis", "search_spaces", "hydra", "omegaconf", "optuna"},
    "study": {"tests"},
    "storage": {"study", "trainables", "analysis", "search_spaces", "torch", "ray", "numpy", "pyarrow"},
}


def imports_of(path: Path) -> set[str]:
    """Top-level packages that a file imports anywhere in it, also within functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(), filename=str(path))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            names.add((node.module or "").partition(".")[0])
    return names


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


# The wings of each package from the top floor down; a wing imports only wings of lower floors, and itself. A module
# that lies in no wing is a wing of its own name.
FLOORS: dict[str, tuple[set[str], ...]] = {
    "study": (
        {"complete"},
        {
            *("__main__", "sweep", "bench", "status", "cancel", "report", "teachers", "latents", "verify"),
            *("check", "init"),
        },
        {"run", "benchmarks"},
        {"execution"},
        {"watching"},
        {"search", "costs"},
        {"planning"},
        {"config", "conf", "deploy"},
        {"directory", "loggers"},
    ),
    "trainables": (
        {"ray_train"},
        {"training", "contracts"},
        {"evaluation"},
        {"models"},
        {"specs", "pruning"},
        {"families", "fused", "losses", "protocol"},
        {"data"},
        {"process"},
        {"arithmetic", "checks", "plugins", "seeds", "folders", "ranks", "damage", "torchvision_ops", "weights"},
    ),
    "analysis": ({"report"}, {"figures"}, {"results"}, {"statistics", "status"}, {"records", "terminal"}),
    "search_spaces": ({"optuna_study"}, {"space", "samplers"}, {"reader"}),
    "storage": ({"makers"}, {"location", "copies"}, {"changes", "objects"}, {"atomic"}, {"paths", "seals"}),
}


def floor_of(module: str) -> int:
    """The floor of a module, counted from the top; the package's own __init__ is beside whatever it imports."""
    package, *rest = module.split(".")
    if not rest:
        return -1
    floors = [index for index, wings in enumerate(FLOORS[package]) if rest[0] in wings]
    assert len(floors) == 1, f"{module} is in no wing of FLOORS, or in two"
    return floors[0]


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def modules_imported(path: Path) -> set[str]:
    """Modules of this repository that a file imports, anywhere in it."""
    ours = {module_of(one) for package in PACKAGES for one in sources(package)}
    found = set()
    for node in ast.walk(ast.parse(path.read_text(), filename=str(path))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {
                f"{node.module}.{alias.name}" if f"{node.module}.{alias.name}" in ours else node.module
                for alias in node.names
            }
    return (found & ours) - {module_of(path)}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_wing_imports_only_wings_below(package: str) -> None:
    upward = [
        f"{module_of(path)} -> {target}"
        for path in sources(package)
        for target in modules_imported(path)
        if target.split(".")[0] == package and target.split(".")[:2] != module_of(path).split(".")[:2]
        if floor_of(module_of(path)) >= floor_of(target) and floor_of(module_of(path)) >= 0
    ]
    assert upward == []
    assert len(FLOORS[package]) <= 9


def test_no_circle() -> None:
    graph = {module_of(path): modules_imported(path) for package in PACKAGES for path in sources(package)}
    assert len(list(TopologicalSorter(graph).static_order())) >= len(graph)  # raises CycleError, which names the circle


def test_folders_can_be_overlooked() -> None:
    """At most 20 files in a folder, 14 at the top of study/, and few files that are too small to be found."""
    files = [path for package in PACKAGES for path in sources(package) if path.name != "__init__.py"]
    folders = Counter(path.parent.relative_to(ROOT).as_posix() for path in files)
    assert {name: number for name, number in folders.items() if number > 20} == {}
    assert folders["study"] <= 14
    small = [path for path in files if len(path.read_text().splitlines()) < 40]
    assert len(small) <= 0.12 * len(files), sorted(path.relative_to(ROOT).as_posix() for path in small)


@pytest.mark.parametrize("package", PACKAGES)
def test_arrows_run_down_only(package: str) -> None:
    assert sources(package)
    found = {path.name: imports_of(path) & FORBIDDEN[package] for path in sources(package)}
    assert {name: names for name, names in found.items() if names} == {}


def test_only_ray_train_imports_ray_in_trainables() -> None:
    assert {path.name for path in sources("trainables") if "ray" in imports_of(path)} == {"ray_train.py"}


def modules_after(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after the statement."""
    code = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    return set(done.stdout.split())


def test_importing_analysis_loads_neither_torch_nor_ray() -> None:
    every_module = [path.relative_to(ROOT).with_suffix("") for path in sources("analysis") if path.stem != "__init__"]
    statement = "import analysis, " + ", ".join(".".join(path.parts) for path in every_module)
    loaded = modules_after(statement)
    assert "analysis" in loaded
    assert loaded & {"torch", "ray", "diffusers", "study", "trainables"} == set()


def test_the_engine_runs_without_ray_and_hydra() -> None:
    loaded = modules_after("import trainables.training.pack, trainables.training.teachers")
    assert "diffusers" in loaded
    assert loaded & {"ray", "hydra", "omegaconf", "optuna", "study", "analysis"} == set()


def test_what_runs_beside_the_head_imports_no_engine() -> None:
    """Many drivers and controllers run there."""
    assert modules_after("import study.execution.launch") & {"torch", "diffusers", "trainables"} == set()
    assert modules_after("import study.execution.trial") & {"diffusers", "trainables", "hydra"} == set()


BACKBONES = ("UNet2DModel", "UNet2DConditionModel", "DiTTransformer2DModel", "SD3Transformer2DModel")


def test_no_file_knows_more_than_one_backbone() -> None:
    """So that adding one touches trainables/families (and its conf) alone."""
    assert sources("trainables")
    for path in [*sources("trainables"), *sources("study")]:
        nodes = list(ast.walk(ast.parse(path.read_text())))
        said = {node.id for node in nodes if isinstance(node, ast.Name)}
        said |= {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
        assert len(said & set(BACKBONES)) <= 1, f"{path}: {said & set(BACKBONES)}"
