"""Data sets from folders, from the `datasets` package, and as latents."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from storage import own_folder
from study import latents as latents_command
from trainables.data import load_data, make_data
from trainables.data.pixels import fit
from trainables.data.streams import SeedStream
from trainables.evaluation.evaluator import Evaluator
from trainables.process import PIXEL
from trainables.protocol import EvaluationSpec
from trainables.ranks import Ranks


def picture(number: int, width: int = 20, height: int = 16) -> Image.Image:
    """A gradient of its own."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return Image.fromarray(np.stack([x * 9, y * 9, np.full_like(x, 20 * number)], axis=-1).astype(np.uint8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(["cats/b.png", "cats/a.png", "dogs/c.PNG", "dogs/d.png"]):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(number).save(path, format="PNG")
    (tmp_path / "images" / "readme.txt").write_text("no image")
    return tmp_path / "images"


def of_folder(where: Path, **settings: Any) -> Any:
    cache = str(where.parent / "cache")
    return make_data({"source": "folder", "name": "pets", "path": str(where), "size": 8, "cache": cache} | settings)


def test_images_of_a_folder_come_in_order_of_their_names(folder: Path) -> None:
    data = of_folder(folder, classes=True).load()
    assert data.images.shape == (4, 3, 8, 8)
    assert data.images.dtype == torch.uint8
    assert data.images[:, 2].float().mean(dim=(1, 2)).tolist() == [20.0, 0.0, 40.0, 60.0]  # a before b
    assert data.conditions["class_labels"].tolist() == [0, 0, 1, 1]
    assert data.shape.num_classes == 2
    assert data.null["class_labels"].item() == 2
    x_0 = data.x_0(torch.tensor([3]))
    assert x_0.dtype == torch.float32
    assert (x_0.min() >= -1, x_0.max() <= 1) == (True, True)


def test_the_middle_is_cut_out_and_resized() -> None:
    image = picture(0, width=20, height=10)
    assert fit(image, 10).tobytes() == image.crop((5, 0, 15, 10)).tobytes()
    assert fit(image, 4, crop=4).tobytes() == image.crop((8, 3, 12, 7)).tobytes()


def test_the_identity_is_the_content_and_not_the_place(folder: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "images"
    moved.parent.mkdir()
    folder.rename(moved)
    first = of_folder(moved).identity()
    moved.rename(folder)
    assert of_folder(folder).identity() == first
    assert of_folder(folder, size=4).identity() != first
    assert of_folder(folder, limit=3).identity() != first
    picture(9).save(folder / "cats" / "new.png")
    assert of_folder(folder).identity() != first


def test_images_are_decoded_once_for_all_processes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = of_folder(folder).load().images.clone()

    def refuse(*_: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr("trainables.data.folder.read_image", refuse)
    assert torch.equal(of_folder(folder).load().images[torch.arange(4)], first)


def test_half_of_the_images_are_mirrored(folder: Path) -> None:
    def x_t(flip: bool) -> torch.Tensor:
        data = of_folder(folder, flip=flip).load()
        stream = SeedStream(data, PIXEL, seed=0, batch_size=64, timesteps="uniform", ranks=Ranks())
        batch = stream.batch(0)
        assert batch.x_0 is not None
        return batch.x_0

    plain, flipped = x_t(False), x_t(True)
    mirrored = (flipped == plain.flip(-1)).flatten(1).all(1)
    assert ((flipped == plain).flatten(1).all(1) | mirrored).all()
    assert 20 <= mirrored.sum() <= 44


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"path": "/nowhere"}, "data.path must be a folder of images but got /nowhere"),
        ({"size": 0}, "data.size must be a whole number from 4"),
        ({"crop": -1}, "data.crop must be a whole number"),
        ({"flip": "yes"}, "data.flip must be true or false but got 'yes'"),
        ({"colour": 1}, "data has no key 'colour'; allowed: source, name, path, size"),
        ({"path": None}, "data.path must be a path but got None"),
        ({"crop": 4, "crop_box": [0, 0, 4, 4]}, "data.crop_box must be null or .* without data.crop but got"),
        ({"crop_box": [0, 0, 4, 5]}, r"data.crop_box must be .* a square in pixels.* but got \[0, 0, 4, 5\]"),
        (
            {"crop_box": [0, 0, 17, 17]},
            r"data.crop_box=\[0, 0, 17, 17\] must lie in every image, but .*a.png is 20 wide",
        ),
        ({"resampling": "cubic"}, "data.resampling must be one of bicubic, bilinear, .* but got 'cubic'"),
        ({"background": [1, 2]}, r"data.background must be a grey or \[red, green, blue\]"),
        ({"background": 256}, "data.background must be a whole number from 0 to 255 but got 256"),
        ({"channels": 4}, "data.channels must be null, 1 or 3 but got 4"),
        ({"partition": "nowhere.txt"}, "data.partition must be a file .* but there is no .*nowhere.txt"),
        ({"partition": ["a.png", "z.png"]}, "data.partition: 1 of the 2 names of the list, z.png first, are not"),
    ],
)
def test_a_folder_that_cannot_be_is_refused(folder: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        of_folder(folder, **settings).load()


def test_a_folder_without_images_and_a_broken_image_are_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"data.path must hold images .* but .*empty has none"):
        of_folder(tmp_path / "empty").load()
    (folder / "cats" / "broken.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(ValueError, match=r"broken\.png cannot be read as an image"):
        of_folder(folder).load()
    assert not list((tmp_path / "cache").iterdir())


def test_an_image_that_would_fill_the_memory_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = min(picture(0).size) ** 2
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels - 1)  # Pillow itself only warns up to twice as many
    with pytest.raises(ValueError, match=r"cannot be read as an image: .* decompression bomb"):
        of_folder(folder).load()


def test_images_of_another_user_are_not_taken_for_prepared_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    own = own_folder()
    assert own.stat().st_mode & 0o077 == 0
    own.rename(tmp_path / "elsewhere")
    own.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="belongs to another user"):
        own_folder()


def test_a_data_set_saved_by_datasets(tmp_path: Path) -> None:
    import datasets

    rows = {"image": [picture(number) for number in range(5)], "label": [0, 1, 2, 1, 0]}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b", "c"])})
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(str(tmp_path / "saved"))
    settings = {"source": "huggingface", "name": "hf", "path": str(tmp_path / "saved"), "size": 8}
    settings["cache"] = str(tmp_path / "cache")
    data = make_data({**settings, "label_column": "label"}).load()
    assert data.images[:, 2].float().mean(dim=(1, 2)).tolist() == [0.0, 20.0, 40.0, 60.0, 80.0]
    assert data.conditions["class_labels"].tolist() == [0, 1, 2, 1, 0]
    assert data.num_classes == 3
    with pytest.raises(ValueError, match=r"data.label_column must be one of image, label but got 'class'"):
        make_data({**settings, "label_column": "class"}).load()
    with pytest.raises(ValueError, match=r"data.path must be a data set that save_to_disk made"):
        make_data({**settings, "path": str(tmp_path)}).load()


@pytest.fixture
def vae(tmp_path: Path) -> Path:
    from diffusers import AutoencoderKL

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoencoderKL(
            block_out_channels=[4, 8], norm_num_groups=2, latent_channels=4, layers_per_block=1, scaling_factor=0.5,
            down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2, sample_size=8,
        )  # fmt: skip
    model.save_pretrained(tmp_path / "vae")
    return tmp_path / "vae"


def encode(folder: Path, vae: Path, *more: str) -> Path:
    out = folder.parent / "latents"
    data = [f"data.path={folder}", "data.size=8", "data.name=pets", f"data.cache={folder.parent / 'cache'}"]
    assert latents_command.main(["data=folder", *data, "data.classes=true", f"vae={vae}", f"out={out}", *more]) == 0
    return out


def test_latents_are_encoded_once_and_decode_to_images(folder: Path, vae: Path, tmp_path: Path) -> None:
    from diffusers import AutoencoderKL

    out = encode(folder, vae, "shard_size=3", "batch_size=2")
    data = load_data(make_data({"source": "latents", "name": "pets", "path": str(out)}))
    indices = torch.tensor([3, 0, 2])
    images = of_folder(folder).load().x_0(indices)
    model = AutoencoderKL.from_pretrained(vae).eval()
    with torch.no_grad():
        mean = model.encode(images).latent_dist.mean
        torch.testing.assert_close(data.x_0(indices), 0.5 * mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(data.decoded(0.5 * mean), model.decode(mean).sample, rtol=1e-4, atol=1e-5)
    assert data.shape.image == (4, 4, 4)
    assert data.condition(indices)["class_labels"].tolist() == [1, 0, 1]
    assert data.null["class_labels"].item() == 2
    assert torch.equal(data.reference(indices), images)
    spec = EvaluationSpec(num_images=4, sampler_steps=1, feature_extractor="digits-cnn-v1", batch_size=4)
    source = make_data({"source": "latents", "name": "pets", "path": str(out)})
    evaluator = Evaluator(spec, source, PIXEL, tmp_path / "reference", torch.device("cpu"))
    from family_models import DIT

    from trainables.models import build_model

    found = evaluator(build_model(DIT, data.shape, seed=0))
    assert found.samples.shape == (4, 3, 8, 8)
    assert np.isfinite(found.metrics["fid"])


def test_training_draws_latents_from_the_posterior_of_images_and_of_mirrored_ones(folder: Path, vae: Path) -> None:
    from diffusers import AutoencoderKL

    out = encode(folder, vae, "data.flip=true", "shard_size=3")
    data = load_data(make_data({"source": "latents", "name": "mirrored", "path": str(out)}))
    assert data.flip
    indices, mirrored = torch.tensor([3, 0, 2]), torch.tensor([False, True, True])
    images = of_folder(folder).load().x_0(indices)
    images[1:] = images[1:].flip(-1)
    with torch.no_grad():
        posterior = AutoencoderKL.from_pretrained(vae).eval().encode(images).latent_dist
    spread = torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(0))
    drawn = 0.5 * (posterior.mean + posterior.std * spread)
    torch.testing.assert_close(data.training_x_0(indices, mirrored, spread), drawn, rtol=1e-4, atol=1e-5)

    def visit(step: int) -> torch.Tensor:
        stream = SeedStream(data, PIXEL, seed=0, batch_size=4, timesteps="uniform", ranks=Ranks())
        return stream.batch(step).x_0

    assert torch.equal(visit(0), visit(0))
    first, again = (visit(step).flatten(1).sort(0).values for step in (0, 1))  # every image once in each epoch
    assert not torch.equal(first, again)


def test_encoding_goes_on_after_the_last_whole_shard(folder: Path, vae: Path) -> None:
    out = encode(folder, vae, "shard_size=2")
    first = {path.name: path.read_bytes() for path in out.glob("shard-*.safetensors")}
    (out / "shard-00001.json").unlink()
    (out / "shard-00001.safetensors").write_bytes(b"half")
    before = (out / "shard-00000.safetensors").stat().st_mtime_ns
    encode(folder, vae, "shard_size=2")
    assert {path.name: path.read_bytes() for path in out.glob("shard-*.safetensors")} == first
    assert (out / "shard-00000.safetensors").stat().st_mtime_ns == before


def test_a_damaged_shard_is_named(folder: Path, vae: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = encode(folder, vae, "shard_size=2")
    assert latents_command.main([f"vae={vae}", f"out={out}", "check=true"]) == 0
    shard = out / "shard-00001.safetensors"
    content = shard.read_bytes()
    shard.write_bytes(content[:-4] + b"\x00\x01\x02\x03")
    assert latents_command.main([f"vae={vae}", f"out={out}", "check=true"]) == 1
    assert "shard-00001.safetensors is missing or damaged" in capsys.readouterr().out
    shard.write_bytes(content[:-4])
    with pytest.raises(ValueError, match=r"shard-00001.safetensors is missing or damaged"):
        make_data({"source": "latents", "name": "pets", "path": str(out)}).load()


def test_text_is_encoded_with_its_images(folder: Path, vae: Path, tmp_path: Path) -> None:
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

    words = {word: index for index, word in enumerate(["<|startoftext|>", "<|endoftext|>", "a</w>", "b</w>", "c</w>"])}
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "vocab.json").write_text(json.dumps(words))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizer(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"), model_max_length=6).save_pretrained(
        tmp_path / "tokenizer"
    )
    config = CLIPTextConfig(
        vocab_size=5, hidden_size=8, intermediate_size=8, projection_dim=7, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=6, eos_token_id=1, bos_token_id=0,
    )  # fmt: skip
    CLIPTextModelWithProjection(config).save_pretrained(tmp_path / "text")
    (tmp_path / "prompts.txt").write_text("a b\na c\na\nb\n")
    more = (f"text_encoder={tmp_path / 'text'}", f"tokenizer={tmp_path / 'tokenizer'}")
    out = encode(folder, vae, *more, f"prompts={tmp_path / 'prompts.txt'}", "shard_size=3")
    data = make_data({"source": "latents", "name": "pets", "path": str(out)}).load()
    assert data.shape.text == (6, 8)
    assert data.shape.pooled == 7
    text = data.condition(torch.arange(4))["encoder_hidden_states"]
    assert len({tuple(row.flatten().tolist()) for row in text}) == 4
    assert data.null["encoder_hidden_states"].shape == (6, 8)
    assert data.null["pooled_projections"].shape == (7,)
    with pytest.raises(ValueError, match=r"^data\.extra_prompts must be false for .*, which has none"):
        make_data({"source": "latents", "name": "pets", "path": str(out), "extra_prompts": True}).load()

    (tmp_path / "extra.txt").write_text("c\nc b\na a a\n")
    (tmp_path / "evaluation.txt").write_text("a b c\nc\n")
    files = [f"{name}_prompts={tmp_path / name}.txt" for name in ("extra", "evaluation")]
    encode(folder, vae, *more, f"prompts={tmp_path / 'prompts.txt'}", "shard_size=3", *files)
    wanted = {"extra_prompts": True, "evaluation_prompts": True}
    source = make_data({"source": "latents", "name": "pets", "path": str(out), **wanted})
    whole = source.load()
    assert whole.num_conditions == 4 + 3
    assert len(whole.evaluation_conditions["encoder_hidden_states"]) == 2
    mixed = whole.condition(torch.tensor([5, 0]))["encoder_hidden_states"]
    assert torch.equal(mixed[1], text[0])
    assert not (mixed[0] == text).flatten(1).all(1).any()
    plain = make_data({"source": "latents", "name": "pets", "path": str(out)})
    assert source.identity() != plain.identity()


@pytest.mark.full
def test_bad_input_of_the_command_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "study.latents", f"vae={tmp_path}", f"out={tmp_path / 'out'}"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("error: vae must be a diffusers directory of an AutoencoderKL but got")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
