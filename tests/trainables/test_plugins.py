"""Code of a user's own is found where it is named, is part of what is made with it, and never of what is not."""

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from own_code import forget, own_modules
from tiny import evaluation_spec, folders, member, teacher_spec

from trainables import plugins
from trainables.data import load_data, make_data
from trainables.evaluation.extractors import make_extractor
from trainables.evaluation.fidelity import compute_metrics, image_features, reference_of
from trainables.losses.methods import Method, define_method, make_method
from trainables.losses.objective import objective
from trainables.process import PIXEL
from trainables.training.pack import MemberResult, run_pack
from trainables.training.teachers import make_teacher

RECIPE = {"lambda_diff": 0.0, "lambda_out": 2.0, "reduction": "sum", "lambda_feat": 1e-3, "feature": "fitnet"}


@pytest.fixture(autouse=True)
def _mine(tmp_path: Path) -> Iterator[None]:
    with own_modules(tmp_path):
        yield


def mine(**settings: object) -> Method:
    own = {"mine": define_method("mine", "losses_of_mine:cosine", None)}
    return make_method("mine", {**RECIPE, **settings}, num_elements=64, own=own)


def test_an_own_loss_is_given_what_it_asks_for_and_its_own_settings() -> None:
    student, teacher = torch.randn(4, 1, 8, 8, requires_grad=True), torch.randn(4, 1, 8, 8)
    cosines = torch.stack(
        [torch.cosine_similarity(s.flatten(), t.flatten(), 0) for s, t in zip(student, teacher, strict=True)]
    )
    for reduction, size in (("sum", 64), ("mean", 1)):
        method = mine(power=2.0, reduction=reduction)
        terms = objective(method, student, teacher, teacher_output=teacher)
        assert terms.loss.item() == pytest.approx(2.0 * size * (1 - cosines).square().mean().item(), rel=1e-5)
    terms.loss.backward()
    assert student.grad is not None
    assert student.grad.abs().sum() > 0


def test_settings_of_an_own_loss_count_and_unknown_ones_are_refused() -> None:
    assert mine().settings["power"] == 1.0
    assert mine() == mine(power=1.0) != mine(power=2.0)
    with pytest.raises(ValueError, match=r"method.sharpness is not a setting of a method; allowed: .*, power"):
        mine(sharpness=1)
    with pytest.raises(ValueError, match=r"method.power must be a number.* but got \[1\]"):
        mine(power=[1])


def test_changed_source_is_another_experiment_also_in_what_it_imports(tmp_path: Path) -> None:
    before = mine().identity()
    assert mine().identity() == before
    helpers = tmp_path / "helpers_of_mine.py"
    helpers.write_text(helpers.read_text() + "# changed\n")
    assert mine().identity() == before  # of what is imported
    forget()
    after = mine().identity()
    assert after != before
    assert {key for key in after if after[key] != before[key]} == {"code"}


def test_built_in_methods_are_what_they_were() -> None:
    assert "code" not in member("out_kd").method.identity()
    assert "own" not in member("lift_place_feat").method.identity()
    assert "code" not in member("out_kd").evaluation.identity()
    assert "code" not in member("out_kd").student.identity()


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("no_such_module_of_mine:cosine", "there is no module no_such_module_of_mine"),
        ("losses_of_mine:sine", "has no 'sine'"),
        ("losses_of_mine:no_loss", r"must be a function \(student, teacher, \*, ...\)"),
        (
            "cosine",
            "methods.output must be one of none, mse, lift, lift_place, dist but got 'cosine'; code of your own",
        ),
        ("os.system", "methods.output must be one of"),
        ("../losses_of_mine:cosine", "methods.output must be one of"),
    ],
)
def test_what_is_no_loss_is_refused_by_name(output: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        define_method("mine", output, None)


def test_a_module_that_fails_says_so_in_one_line(tmp_path: Path) -> None:
    with (
        own_modules(tmp_path, broken="import torch\n1 / 0\n"),
        pytest.raises(ValueError, match=r"broken_of_mine cannot be imported \(ZeroDivisionError: division by zero\)"),
    ):
        define_method("mine", "broken_of_mine:loss", None)


def test_a_loss_that_is_no_scalar_is_refused() -> None:
    own = {"mine": define_method("mine", "losses_of_mine:per_sample", None)}
    method = make_method("mine", RECIPE, num_elements=64, own=own)
    outputs = torch.zeros(4, 1, 8, 8)
    with pytest.raises(ValueError, match=r"must return a scalar tensor but returned \(4,\)"):
        objective(method, outputs, outputs, teacher_output=outputs)


def test_what_a_study_wrote_imports_nothing(tmp_path: Path) -> None:
    (tmp_path / "evil_of_mine.py").write_text("raise SystemExit('it was imported')\n")
    with (
        plugins.not_from("study.yaml"),
        pytest.raises(ValueError, match=r"study.yaml names methods.output=evil_of_mine"),
    ):
        define_method("mine", "evil_of_mine:loss", None)
    assert "evil_of_mine" not in sys.modules


def test_the_working_directory_is_looked_in_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "there_of_mine.py").write_text("VALUE = 1\n")
    (tmp_path / "elsewhere" / "pickle.py").write_text("VALUE = 1\n")
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert plugins.load("key", "there_of_mine:VALUE") == 1
    assert plugins.load("key", "pickle:dumps") is pickle.dumps


def test_entry_points_of_installed_packages_are_names(tmp_path: Path) -> None:
    info = tmp_path / "mine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[kd_study.output_losses]\ncosine = losses_of_mine:cosine\n[kd_study.methods]\nmine = method_of_mine:MINE\n"
    )
    method = "from trainables.losses.methods import Method\nMINE = Method(name='x', output='losses_of_mine:cosine')\n"
    with own_modules(tmp_path, method=method):
        assert define_method("other", "cosine", None).output == "losses_of_mine:cosine"
        made = make_method("mine", RECIPE, num_elements=64)
        assert (made.name, made.output, made.lambda_out) == ("mine", "losses_of_mine:cosine", 2.0)


def test_what_is_shipped_is_what_is_imported_and_not_installed(tmp_path: Path) -> None:
    package = tmp_path / "package_of_mine" / "inner"
    package.mkdir(parents=True)
    for folder in (package.parent, package):
        (folder / "__init__.py").touch()
    (package / "losses.py").write_text("def loss(student, teacher): return (student - teacher).mean()\n")
    names = [path.name for path in plugins.to_ship("losses_of_mine:cosine")]
    assert names == ["helpers_of_mine.py", "losses_of_mine.py"]
    assert plugins.to_ship("package_of_mine.inner.losses:loss") == [tmp_path / "package_of_mine"]
    assert plugins.to_ship("torch.nn.functional:mse_loss") == []


def test_an_own_data_source_is_what_it_loads(tmp_path: Path) -> None:
    data = make_data({"source": "data_of_mine:Stripes", "width": 2})
    assert data.name == "stripes"
    assert load_data(data).shape.image == (1, 8, 8)
    again = pickle.loads(pickle.dumps(data))  # noqa: S301
    assert again == data
    assert again.identity() == data.identity()
    assert make_data({"source": "data_of_mine:Stripes", "width": 4}).identity() != data.identity()
    with pytest.raises(ValueError, match="data must have the keys width but lacks width"):
        make_data({"source": "data_of_mine:Stripes"})
    with pytest.raises(ValueError, match=r"data.width must be 1 or more but got 0"):
        make_data({"source": "data_of_mine:Stripes", "width": 0})
    with pytest.raises(ValueError, match="data has no key 'height'"):
        make_data({"source": "data_of_mine:Stripes", "width": 1, "height": 2})


def test_an_own_extractor_measures_and_draws_the_same_weights_everywhere() -> None:
    images = torch.randint(0, 256, (24, 1, 8, 8), dtype=torch.uint8)
    torch.manual_seed(1)
    one = image_features(make_extractor("features_of_mine:Net"), images, 8)
    torch.manual_seed(2)
    other = image_features(make_extractor("features_of_mine:Net"), images, 24)
    assert one.features.shape == (24, 5)
    torch.testing.assert_close(one.features, other.features)
    metrics = compute_metrics(one, reference_of([other.features], 24))
    assert metrics["fid"] == pytest.approx(0, abs=1e-4)
    assert metrics["is_mean"] != metrics["is_mean"]  # without logits there is none
    with pytest.raises(ValueError, match=r"evaluation.feature_extractor=losses_of_mine:cosine cannot be made"):
        make_extractor("losses_of_mine:cosine")


SAMPLERS = """
from diffusers import DDIMScheduler


class Loud(DDIMScheduler):
    def set_timesteps(self, *args, **kwargs):
        super().set_timesteps(*args, **kwargs)
        self.init_noise_sigma = 14.0
"""


def test_an_own_sampler_is_a_scheduler_of_diffusers(tmp_path: Path) -> None:
    assert evaluation_spec(sampler="diffusers:DDIMScheduler").identity()["code"]
    sampler = PIXEL.sampler("diffusers:DDIMScheduler", 5)
    assert len(sampler.timesteps) == 5
    with (
        own_modules(tmp_path, samplers=SAMPLERS),
        pytest.raises(ValueError, match="must start from noise of variance 1"),
    ):
        PIXEL.sampler("samplers_of_mine:Loud", 5)
    with pytest.raises(ValueError, match="must be a scheduler of diffusers"):
        PIXEL.sampler("losses_of_mine:cosine", 5)


def test_a_pack_trains_with_own_losses_and_an_own_extractor(tmp_path: Path) -> None:
    where, evaluation = folders(tmp_path / "study"), evaluation_spec(feature_extractor="features_of_mine:Net")
    make_teacher(teacher_spec(), evaluation, where)
    own = {
        "mine": define_method("mine", "losses_of_mine:cosine", None),
        "mine_feat": define_method("mine_feat", None, "losses_of_mine:blocks"),
    }
    results: list[MemberResult] = []
    members = [
        member("out_kd", evaluation=evaluation, own=own),
        *(member(name, evaluation=evaluation, own=own) for name in own),
    ]
    run_pack(members, where, results.append)
    losses = {result.member.method.name: result.trained.curve[-1] for result in results}
    assert losses["mine"]["loss_out"] > 1  # in the scale of the diffusion loss's sum over 64 elements
    assert losses["mine_feat"]["loss_feat"] > 0
    assert len({result.trained.digest for result in results}) == 3
    assert all(result.evaluation is not None and result.evaluation.metrics["fid"] > 0 for result in results)


def test_a_worker_refuses_code_that_changed_since_the_plan(tmp_path: Path) -> None:
    one = member("mine", own={"mine": define_method("mine", "losses_of_mine:cosine", None)})
    make_teacher(teacher_spec(), evaluation_spec(), folders(tmp_path / "study"))
    source = tmp_path / "losses_of_mine.py"
    source.write_text(source.read_text() + "# changed\n")
    forget()
    with pytest.raises(ValueError, match="its source is another one here than where the study was planned"):
        run_pack([one], folders(tmp_path / "study"), lambda _result: None)
    assert not (tmp_path / "study" / "students").exists()
