"""What an evaluation protocol says: noise seeds, neighbours, references of its own, and their part in ids."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import SHAPE, evaluation_spec, unet

from trainables.data import load_data
from trainables.data.dataset import to_uint8
from trainables.data.digits import Digits
from trainables.evaluation.evaluator import Evaluation, Evaluator
from trainables.evaluation.extractors import digits_cnn, make_extractor
from trainables.evaluation.fidelity import compute_metrics, image_features, reference_of
from trainables.evaluation.references import check_reference
from trainables.models import build_model
from trainables.process import PIXEL

CPU = torch.device("cpu")


def evaluated(folder: Path, **settings: object) -> Evaluation:
    model = build_model(unet(4), SHAPE, seed=0)
    return Evaluator(evaluation_spec(**settings), Digits(), PIXEL, folder, CPU)(model)


def statistics_file(folder: Path, **arrays: np.ndarray) -> Path:
    features = image_features(make_extractor("digits-cnn-v1"), to_uint8(load_data(Digits()).images), 256).features
    known = {"mu": features.double().mean(0).numpy(), "sigma": np.cov(features.double().numpy(), rowvar=False)}
    np.savez(folder / "reference.npz", **(known | arrays))
    return folder / "reference.npz"


def test_every_noise_seed_is_sampled_and_metrics_are_means(tmp_path: Path) -> None:
    both = evaluated(tmp_path, noise_seeds=[4, 7])
    alone = [evaluated(tmp_path, noise_seeds=[seed]) for seed in (4, 7)]
    assert both.fid_by_noise_seed == tuple(one.metrics["fid"] for one in alone)
    assert both.fid_by_noise_seed[0] != both.fid_by_noise_seed[1]
    for name, value in both.metrics.items():
        assert value == pytest.approx(np.mean([one.metrics[name] for one in alone]), rel=1e-12)
    assert torch.equal(both.samples, alone[0].samples)


def test_a_look_on_the_way_takes_the_first_noise_seed(tmp_path: Path) -> None:
    model = build_model(unet(4), SHAPE, seed=0)
    evaluator = Evaluator(evaluation_spec(noise_seeds=[4, 7]), Digits(), PIXEL, tmp_path, CPU)
    (fid,) = evaluator.with_num_images(8)(model).fid_by_noise_seed
    assert fid == evaluated(tmp_path, noise_seeds=[4], num_images=8).metrics["fid"]


def test_the_neighbourhood_is_a_setting(tmp_path: Path) -> None:
    """A wider one holds more images."""
    digits = to_uint8(load_data(Digits()).images)
    features = [image_features(make_extractor("digits-cnn-v1"), part, 256) for part in (digits[:300], digits[300:900])]
    reached = [reference_of([features[1].features], 600, neighbours) for neighbours in (1, 5)]
    precisions = [compute_metrics(features[0], reference)["precision_"] for reference in reached]
    assert precisions[0] < precisions[1]
    assert evaluation_spec(neighbours=5).identity() != evaluation_spec().identity()
    with pytest.raises(ValueError, match=r"^evaluation\.num_images must be a whole number from 6 to"):
        evaluation_spec(neighbours=5, num_images=5)


def test_saved_statistics_give_the_fid_of_the_images_they_were_taken_of(tmp_path: Path) -> None:
    path = str(statistics_file(tmp_path))
    saved, images = evaluated(tmp_path, reference=path), evaluated(tmp_path)
    assert saved.metrics["fid"] == pytest.approx(images.metrics["fid"], rel=1e-4)
    assert saved.metrics["is_mean"] == images.metrics["is_mean"]
    assert all(np.isnan(saved.metrics[name]) for name in ("kid", "precision_", "recall"))


def test_the_row_says_where_the_reference_is_from(tmp_path: Path) -> None:
    path = statistics_file(tmp_path)
    spec = evaluation_spec(reference=str(path))
    assert spec.reference_name.startswith("statistics ")
    assert evaluation_spec().reference_name == "train"
    before = spec.identity()
    moved = path.rename(tmp_path / "elsewhere.npz")
    assert evaluation_spec(reference=str(moved)).identity() == before
    statistics_file(tmp_path, mu=np.zeros(64))
    assert spec.identity() != before
    with pytest.raises(ValueError, match=r"^evaluation\.reference must be null or the path of a file but got .*none"):
        evaluation_spec(reference=str(tmp_path / "none.npz")).identity()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"mu": np.zeros(3), "sigma": np.eye(3)}, r"must be of the 64 features of digits-cnn-v1 but is of 3"),
        ({"sigma": np.eye(3)}, r"mu \(D,\) and sigma \(D, D\) but got \(64,\) and \(3, 3\)"),
        ({"mu": np.full(64, np.nan)}, "finite numbers"),
        ({"mu": np.array([None])}, "must hold arrays mu and sigma"),
    ],
)
def test_statistics_of_something_else_are_refused(arrays: dict, message: str, tmp_path: Path) -> None:
    spec = evaluation_spec(reference=str(statistics_file(tmp_path, **arrays)))
    with pytest.raises(ValueError, match=rf"^evaluation\.reference=.*{message}"):
        check_reference(spec, Digits(), make_extractor("digits-cnn-v1"))


def test_a_folder_of_reference_images_is_read_at_the_size_of_the_evaluation(tmp_path: Path) -> None:
    """Digits at 16x16 measured at 8x8 are nearly the digits; images that are measured are resized alike."""
    for index, image in enumerate(to_uint8(load_data(Digits()).images[:200])):
        large = Image.fromarray(image[0].numpy()).resize((16, 16), Image.Resampling.NEAREST)
        large.save(tmp_path / f"{index:03d}.png")
    with pytest.raises(ValueError, match=r"^evaluation\.image_size must be given"):
        evaluated(tmp_path / "kept", reference=str(tmp_path))
    settings = {"reference": str(tmp_path), "image_size": 8}
    of_folder = evaluated(tmp_path / "kept", **settings)
    assert of_folder.metrics["fid"] == pytest.approx(evaluated(tmp_path / "kept").metrics["fid"], rel=0.2)
    assert evaluation_spec(**settings).reference_name.startswith("folder ")
    (tmp_path / "000.png").unlink()
    again = replace(evaluation_spec(**settings))
    assert again.reference_name != of_folder  # another listing
    with pytest.raises(ValueError, match="must be a folder of images or an"):
        evaluation_spec(reference=str(tmp_path / "none")).identity()


def test_two_files_of_extractor_weights_are_two_protocols(tmp_path: Path) -> None:
    own = Path(digits_cnn.__file__).parent / "digits_cnn_v1.safetensors"
    same, other = tmp_path / "same.safetensors", tmp_path / "other.safetensors"
    same.write_bytes(own.read_bytes())
    other.write_bytes(own.read_bytes() + b" ")
    identities = [evaluation_spec(extractor_weights=str(path)).identity() for path in (own, same, other)]
    assert identities[0] == identities[1] != identities[2]
