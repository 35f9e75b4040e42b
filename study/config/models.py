"""The config's entries for teachers and students -> their specs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from study.config.options import option_config, option_names
from study.config.study import require_name
from trainables.checks import (
    Raw,
    check_keys,
    items,
    make,
    mapping,
    require_choice,
    require_number,
    require_text,
    require_whole,
)
from trainables.data import DataShape, DataSpec, data_shape
from trainables.families import find_family
from trainables.models import count
from trainables.models.build import architecture
from trainables.models.conditions import require_conditions
from trainables.models.narrow import narrower
from trainables.models.pretrained import find_pretrained
from trainables.models.scheduler_config import require_trained_like
from trainables.models.shipped import shipped_teacher
from trainables.process import Process
from trainables.pruning import check_teacher_of, full_settings
from trainables.specs import ModelSpec, Pretrained, PrunedSpec, StudentSpec, TeacherSpec, TrainSpec

_SIZES = {"layers_per_block": (1, 64), "block_out_channels": (1, 10**5), "norm_num_groups": (1, 10**5)}
_HUB = ("hub", "revision", "subfolder", "variant")
_OF_RATIO = ("ratio", "teacher")
_ENTRIES = "models with name, model_class and config (and hub), with name and folder, or with name, teacher and pruning"


def make_teacher_specs(entry: Any, raw: Raw, data: DataSpec, process: Process) -> list[TeacherSpec]:
    """A teachers entry, once for each of teacher_seeds; one whose seed nobody knows is one, whatever the seeds."""
    specs = [make_teacher_spec(entry, raw, data, process, seed=seed) for seed in teacher_seeds(raw)]
    return specs if specs[0].seed is not None else specs[:1]


def teacher_seeds(raw: Raw) -> list[int]:
    """Raises ValueError naming the key unless they are distinct seeds."""
    seeds = items(raw, "teacher_seeds")
    for index, seed in enumerate(seeds):
        require_whole("teacher_seeds", seed, 0)
        if seed in seeds[:index]:
            raise ValueError(f"teacher_seeds must be distinct but {seed} is given twice")
    return seeds


def make_teacher_spec(
    entry: Any, raw: Raw, data: DataSpec, process: Process, *, seed: int, cut_by: tuple[str, ...] = ()
) -> TeacherSpec:
    """A teachers entry: the name of a file in conf/teacher, or a mapping of what would be in one.

    raw: the config, for teacher_train. cut_by: names of the teachers that are cut from this one. Raises ValueError
    naming what is wrong.
    """
    entry = _by_name(entry, raw)
    key, settings = "teachers", entry
    if not isinstance(entry, Mapping):
        names = option_names("teacher")
        if entry not in names:
            raise ValueError(f"teachers must be among {', '.join(names)}, or {_ENTRIES}, but got {entry!r}")
        key, settings = f"teacher.{entry}", option_config("teacher", entry)
    train = _train(key, settings, raw)
    if "shipped" in settings:
        return _shipped(key, settings, train, data, process, seed=seed)
    if "folder" in settings:
        return _of_folder(key, settings, train, data, process)
    model: StudentSpec
    if "pruning" in settings:
        model = _pruned(key, settings, raw, data, process, more=("train",), seed=seed, cut_by=cut_by)
    else:
        own = {name: value for name, value in settings.items() if name not in (*_HUB, "train")}
        model = make_model_spec(key, own, data_shape(data))
    pretrained = _of_hub(key, settings) if "hub" in settings else None
    own_seed = None if pretrained else seed
    return TeacherSpec(model=model, train=train, data=data, seed=own_seed, process=process, pretrained=pretrained)


def _by_name(entry: Any, raw: Raw) -> Any:
    """The mapping among `teachers` that has the name, if there is one."""
    listed = raw.get("teachers")
    named = [one for one in listed if isinstance(one, Mapping) and one.get("name") == entry] if listed else []
    return named[0] if named else entry


def _train(key: str, settings: Raw, raw: Raw) -> TrainSpec:
    """The recipe of teachers, with what the entry's own `train` changes of it."""
    own = mapping(settings, "train", f"{key}.train") if "train" in settings else {}
    name = f"{key}.train" if own else "teacher_train"
    train = make(TrainSpec, name, {**mapping(raw, "teacher_train"), **own}, key=name)
    require_choice(f"{name}.inputs", train.inputs, ("real",))
    require_choice(f"{name}.diffusion_loss", train.diffusion_loss, ("matching",))
    return train


def _pruned(
    key: str,
    settings: Raw,
    raw: Raw,
    data: DataSpec,
    process: Process,
    *,
    more: tuple[str, ...],
    seed: int,
    cut_by: tuple[str, ...] = (),
) -> PrunedSpec:
    """{name, teacher, pruning}: what is cut from a teacher of that seed. more: other keys that may be there."""
    check_keys(key, settings, ["name", "teacher", "pruning", *more])
    name = settings.get("name")
    require_name(f"{key}.name", name)
    if name in cut_by:
        raise ValueError(f"{key}.teacher must not be cut from itself but {' from '.join((*cut_by, str(name)))} is")
    pruning = full_settings(mapping(settings, "pruning", f"{key}.pruning"), f"{key}.pruning")
    teacher = make_teacher_spec(settings.get("teacher"), raw, data, process, seed=seed, cut_by=(*cut_by, str(name)))
    shape = data_shape(data)
    check_teacher_of(pruning, architecture(teacher.model, shape).model_class, f"{key}.teacher")
    spec = PrunedSpec(name=str(name), teacher=teacher, pruning=pruning)
    architecture(spec, shape)  # refuses what cannot be cut so
    return spec


def _of_folder(key: str, settings: Raw, train: TrainSpec, data: DataSpec, process: Process) -> TeacherSpec:
    """A teacher that is there already: what it is and how it was trained is read from its files."""
    check_keys(key, settings, ["name", "folder", "subfolder", "variant", "model_class"])
    require_name(f"{key}.name", settings.get("name"))
    root = Path(require_text(f"{key}.folder", settings["folder"], "a path"))
    variant = settings.get("variant")
    if variant is not None and not require_text(f"{key}.variant", variant, "null or e.g. fp16").isidentifier():
        raise ValueError(f"{key}.variant must be null or e.g. fp16 but got {variant!r}")
    name, subfolder = settings["name"], settings.get("subfolder")
    own = settings.get("model_class")
    found = find_pretrained(name, root, subfolder, data_shape(data), variant=variant, model_class=own)
    require_trained_like(name, found.process, process)
    model, pretrained = found.model, found.pretrained
    return TeacherSpec(model=model, train=train, data=data, seed=None, process=process, pretrained=pretrained)


def _shipped(key: str, settings: Raw, train: TrainSpec, data: DataSpec, process: Process, *, seed: int) -> TeacherSpec:
    """A teacher that comes with the package, trained with that seed."""
    check_keys(key, settings, ["name", "shipped"])
    folder = shipped_teacher(settings["shipped"], seed)
    if data_shape(data).image != (1, 8, 8):
        raise ValueError(
            f"teachers must fit the data but {settings['shipped']} comes with the package for data=digits: "
            "give models of your own, or some to be trained, e.g. teachers=[unet_16,unet_64]"
        )
    found = _of_folder(key, {"name": settings.get("name"), "folder": str(folder)}, train, data, process)
    assert found.pretrained is not None
    return replace(found, seed=seed, pretrained=Pretrained(digest=found.pretrained.digest, shipped=folder.name))


def _of_hub(key: str, settings: Raw) -> Pretrained:
    """A teacher of the Hugging Face hub; it is fetched when it is made, and must be what the entry says."""
    texts = {name: require_text(f"{key}.{name}", settings[name], "text") for name in _HUB if settings.get(name)}
    digest = f"{texts['hub']}@{texts.get('revision', 'main')}/{texts.get('subfolder', '')}"
    digest += f"#{texts['variant']}" if "variant" in texts else ""
    return Pretrained(digest=digest, **texts)


def make_student_spec(raw: Raw, data: DataSpec, process: Process) -> StudentSpec:
    """The student group: a model of its own, {ratio, teacher}: a narrower one of the teacher's family (of the first of
    `teachers`, where it names none), or {name, teacher, teacher_seed, pruning}: one that is cut from a teacher.

    teacher_seed: of the training of the teacher that it is cut from; null: the first of teacher_seeds.
    """
    settings = mapping(raw, "student")
    if settings.get("ratio") is not None:
        require_number("student.ratio", settings["ratio"], above=0, below=1)
        wanted = settings.get("teacher") or items(raw, "teachers")[0]
        teacher = make_teacher_spec(wanted, raw, data, process, seed=teacher_seeds(raw)[0])
        return narrower(teacher.model, settings["ratio"], data_shape(data), key="student.ratio")
    if "pruning" not in settings:
        own = {key: value for key, value in settings.items() if key not in _OF_RATIO}
        return make_model_spec("student", own, data_shape(data))
    seed = settings.get("teacher_seed")
    if seed is None:
        seed = teacher_seeds(raw)[0]
    require_whole("student.teacher_seed", seed, 0)
    return _pruned("student", settings, raw, data, process, more=("teacher_seed",), seed=seed)


def make_model_spec(key: str, raw: Raw, shape: DataShape) -> ModelSpec:
    """A model by its class and config. Raises ValueError for what cannot be built."""
    spec = make(ModelSpec, key, raw)
    require_name(f"{key}.name", spec.name)
    family = find_family(f"{key}.model_class", spec.model_class)
    config = mapping(raw, "config", f"{key}.config")
    for name in family.config(shape):
        if name in config:
            raise ValueError(f"{key}.config.{name} follows from the data and cannot be set, but got {config[name]!r}")
    _check_sizes(f"{key}.config", config)
    require_conditions(key, spec.model_class, config, shape)
    try:
        count(spec, shape)  # builds it without weights, which takes milliseconds
    except Exception as error:  # diffusers checks little itself: a model that cannot be built fails in many ways
        raise ValueError(
            f"{spec.name}.config {dict(spec.config)} does not describe a model that can be built: {error}"
        ) from error
    return spec


def _check_sizes(key: str, value: Any) -> None:
    """Refuses numbers with which building a model would fail late, or never end."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _check_sizes(f"{key}.{name}", inner)
    elif isinstance(value, list):
        for inner in value:
            _check_sizes(key, inner)
    elif isinstance(value, int) and not isinstance(value, bool):
        require_whole(key, value, *_SIZES.get(key.rpartition(".")[2], (0, 10**5)))
    elif isinstance(value, float):
        require_number(key, value, at_least=0)
