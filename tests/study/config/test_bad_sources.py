"""Bad data, teachers, students and processes are refused like any bad value: before anything is started or written."""

import os
import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import safetensors.torch
import torch
from PIL import Image

from storage import sealed
from trainables import data
from trainables.data.latents import LATENTS, MANIFEST, NULL, describe_shard

Refusal = Callable[[Sequence[str]], str]
TRAINED = "teachers=[unet_16]"
CUT = "student=diff_pruned student.teacher=unet_16"
BAD = [
    ("process.scheduler=EulerDiscreteScheduler", "process.scheduler must be one of DDPMScheduler"),
    ("process.config=3", "process.config must be a mapping"),
    ("process.config.num_train_timesteps=-5", "process.config.num_train_timesteps must be a whole number from 1"),
    ("process.config.num_train_timesteps=1000000000000", "process.config.num_train_timesteps"),
    (
        "process.config.num_train_timesteps=10 teachers=[unet_16]",
        "evaluation.sampler_steps must be a whole number from 1 to",
    ),
    ("process.config.beta_start=nan", "process.config.beta_start must be a number above 0 and below 1"),
    ("process.config.beta_start=-1", "process.config.beta_start"),
    ("process.config.beta_end=2", "process.config.beta_end"),
    ("process.config.beta_schedule=magic", "magic"),
    ("process.config.prediction_type=sample", "epsilon, v_prediction"),
    ("+process.config.colour=red", "colour"),
    ("process=flow", "evaluation.sampler must be one of euler"),
    ("process=flow evaluation=euler_28 process.config.shift=nan", "process.config.shift"),
    ("train.inputs=nothing", "real, random_conditioning, data_free"),
    ("train.inputs=data_free", "diffusion_only"),
    ("train.condition_dropout=2", "train.condition_dropout"),
    ("methods=[{method:out_kd,assistant:nobody}]", "'nobody'"),
    ("methods=[{method:out_kd,assistant:[unet_16]}]", "methods.assistant must be the name of a teacher"),
    ("methods=[{method:diffusion_only,assistant:unet_16}]", "takes no assistant"),
    ("student=diff_pruned", "student.teacher"),
    ("student=diff_pruned student.teacher=nobody", "'nobody'"),
    (f"{CUT} student.pruning.ratio=1", "student.pruning.ratio must be a number above 0 and below 1"),
    (f"{CUT} student.pruning.how=magic", "diff_pruning, block_removal, depth_pruning"),
    (f"{CUT} +student.pruning.colour=1", "colour"),
    (f"{CUT} student.pruning=3", "student.pruning must be a mapping"),
    (f"{CUT} student.name=../x", "student.name"),
    ("student=bk_sdm student.teacher=unet_16", "student.teacher must be a UNet2DConditionModel for block_removal"),
    ("student=tiny_fusion student.teacher=unet_16", "DiTTransformer2DModel or SD3Transformer2DModel"),
    ("student=tiny_fusion student.teacher=tiny_dit student.pruning.num_layers=0", "student.pruning.num_layers"),
    ("+experiment=celeba_table6", "data.path"),
    ("+experiment=celeba_table6 scale=huge", "paper, tiny"),
    ("+experiment=celeba_table6 scale=tiny train.steps=-1", "train.steps"),
    ("scale=tiny", "+experiment=NAME"),
    ("teachers=[{name:x,hub:3,model_class:UNet2DModel,config:{}}]", "teachers.hub must be text"),
    ("teachers=[{name:x,hub:a/b}]", "model_class"),
    ("teachers=[{name:x,folder:3}]", "teachers.folder must be a path"),
    ("data=generated data.channels=-1", "data.channels"),
    ("data=generated data.text=[5]", "data.text must be null or two whole numbers"),
    (
        "data=generated data.size=16 teachers=[unet_16]",
        "evaluation.feature_extractor=digits-cnn-v1 reads images of 8x8",
    ),
    ("+data.source=magic", "digits, folder, huggingface, latents, generated"),
    ("dry_run=1", "dry_run must be true or false"),
]
FILES = [
    ("teachers=[{name:x,folder:@nowhere}]", "folder must be a diffusers directory"),
    ("teachers=[{name:x,folder:@empty}]", "folder must be a diffusers directory"),
    ("teachers=[{name:x,folder:@file}]", "folder must be a diffusers directory"),
    ("teachers=[{name:x,folder:@broken_json}]", "does not hold a diffusers model"),
    ("teachers=[{name:x,folder:@list_json}]", "does not hold a diffusers model: it must be a JSON object"),
    ("teachers=[{name:x,folder:@pickled}]", "was not loaded, it must hold tensors alone"),
    ("teachers=[{name:x,folder:@colour}]", "has in_channels 3, but the data needs 1"),
    ("teachers=[{name:x,folder:@pickled,subfolder:../x}]", "subfolder must be the name of a folder but got '../x'"),
    ("teachers=[{name:x,folder:@pickled,subfolder:3}]", "subfolder must be the name of a folder but got 3"),
    ("teachers=[{name:../x,folder:@pickled}]", "teachers.name"),
    ("data=folder data.name=a data.path=@nowhere data.size=8", "data.path must be a folder of images"),
    ("data=folder data.name=a data.path=@empty data.size=8", "data.path must hold images"),
    ("data=folder data.name=a data.path=@no_images data.size=8 data.cache=@cache", "cannot be read as an image"),
    ("data=folder data.name=../a data.path=@images data.size=8 data.cache=@cache teachers=[unet_16]", "data.name"),
    ("data=folder data.name=a data.path=@images data.size=8 data.cache=/proc/x", "data.cache: /proc/x"),
    ("data=folder data.name=a data.path=@images data.size=8 data.cache=3", "data.cache must be null or a path"),
    (
        f"data=folder data.name=a data.path=@images data.size=6 data.cache=@cache {TRAINED}",
        "group_size must divide the 36",
    ),
    ("data=folder data.name=a data.path=@images data.size=0", "data.size"),
    ("data=huggingface data.name=a data.path=@empty data.size=8", "data.path must be a data set that save_to_disk"),
    ("data=huggingface data.name=a data.path=@empty data.size=8 data.split=../x", "data.split"),
    (
        "data=huggingface data.name=a data.path=@empty data.size=8 data.split=3",
        "data.split must be the name of a split",
    ),
    ("data=latents data.name=a data.path=@empty", "data.path must be a folder that study.latents made"),
    ("data=latents data.name=a data.path=@list_latents", "it is not a JSON object"),
    ("data=latents data.name=a data.path=@few_latents", "it must list shards"),
    ("data=latents data.name=a data.path=@climbing_latents", "a shard must lie beside it but one is '../file'"),
    ("data=latents data.name=a data.path=@nan_latents", "holds latents that are not finite numbers"),
    ("data=latents data.name=a data.path=@pickled_latents", "is damaged; python -m study.latents makes it again"),
    ("protocol=search search_space=@broken.yaml", "cannot be read"),
    ("protocol=search search_space=@crossed.yaml", "search_space.lambda_out.low must be at most high"),
    ("protocol=search search_space=@nan.yaml", "search_space.lambda_out.low must be a number"),
    ("study_dir=@file", "study_dir"),
    ("study_dir=@file/x", "Not a directory"),
]


class Trap:
    """Unpickling this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def write_latents(folder: Path, shard: bytes | None = None, **facts: object) -> None:
    folder.mkdir()
    latents = torch.zeros((3, 1, 8, 8))
    latents[2, 0, 0, 0] = torch.nan
    safetensors.torch.save_file({LATENTS: latents}, folder / "shard-00000.safetensors")
    if shard is not None:
        (folder / "shard-00000.safetensors").write_bytes(shard)
    safetensors.torch.save_file({}, folder / NULL)
    shards = [describe_shard(folder / "shard-00000.safetensors", {LATENTS: latents})]
    known = {
        "shards": shards,
        "prompts": {},
        "tensors": [LATENTS],
        "num_classes": None,
        "scaling_factor": 1.0,
        "shift_factor": 0.0,
    }
    content = sealed(MANIFEST, {**known, "source": {"source": "digits", "name": "digits"}, **facts})
    (folder / MANIFEST).write_bytes(content)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that somebody may point the study to by mistake, or in malice."""
    root = tmp_path_factory.mktemp("bad")
    trap = pickle.dumps(Trap(root / "sprung"))
    for name in ("empty", "images", "no_images", "broken_json", "list_json", "pickled", "colour", "list_latents"):
        (root / name).mkdir()
    (root / "file").write_text("x")
    for number in range(4):
        Image.new("RGB", (8, 8), (number, number, number)).save(root / "images" / f"{number}.png")
    (root / "no_images" / "a.png").write_bytes(b"no image")
    (root / "broken_json" / "config.json").write_text("{")
    (root / "list_json" / "config.json").write_text("[1]")
    (root / "pickled" / "config.json").write_text('{"_class_name": "UNet2DModel", "in_channels": 1, "out_channels": 1}')
    (root / "pickled" / "diffusion_pytorch_model.bin").write_bytes(trap)
    (root / "colour" / "config.json").write_text('{"_class_name": "UNet2DModel", "in_channels": 3}')
    (root / "list_latents" / MANIFEST).write_text("[]")
    write_latents(root / "few_latents", shards=[])
    write_latents(root / "climbing_latents", shards=[{"name": "../file", "num_images": 1, "bytes": 1, "digest": ""}])
    write_latents(root / "nan_latents")
    write_latents(root / "pickled_latents", trap)
    (root / "broken.yaml").write_text("lambda_out: [")
    (root / "crossed.yaml").write_text("lambda_out: {kind: float, low: 3, high: 1}")
    (root / "nan.yaml").write_text("lambda_out: {kind: float, low: .nan, high: 1}")
    return root


def files(root: Path) -> set[Path]:
    """All but the images that a data set keeps as it reads them; no trap has sprung, or there would be one more."""
    return {path for path in root.rglob("*") if "cache" not in path.relative_to(root).parts}


@pytest.fixture(autouse=True)
def forget_data() -> Iterator[None]:
    """What is loaded is kept by what was said of it."""
    yield
    data.load_data.cache_clear()


@pytest.mark.parametrize(("overrides", "named"), BAD + FILES, ids=[overrides for overrides, _ in BAD + FILES])
def test_it_is_refused_in_one_line_that_names_it(
    overrides: str,
    named: str,
    root: Path,
    tmp_path: Path,
    refusal: Refusal,
) -> None:
    before, started = files(root), time.process_time()
    said = refusal(overrides.replace("@", f"{root}/").split(" "))
    assert named in said
    assert time.process_time() - started < 10
    assert not list(tmp_path.iterdir())
    assert files(root) == before


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path, refusal: Refusal) -> None:
    tmp_path.chmod(0o500)
    said = refusal([f"study_dir={tmp_path}/study"])
    assert "study_dir must be a directory that can be written" in said
