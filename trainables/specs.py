"""What a run is: frozen descriptions of data, models, training and evaluation, and the ids that follow from them.

A member is ONE student run. Its run_id hashes exactly (data, teacher, student, method and settings, seed, budget,
evaluation protocol); its train_id leaves the evaluation out. Names are labels and are not hashed, except where a name
is all there is (data sets, extractors).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from trainables import plugins
from trainables.arithmetic import FLOAT32, MATMULS
from trainables.checks import require_choice, require_number, require_whole
from trainables.data import DataSpec
from trainables.losses.methods import Method
from trainables.process import PIXEL, TIMESTEPS, Process
from trainables.protocol import EvaluationSpec

OPTIMISERS = ("adam", "adamw")
LR_SCHEDULES = ("constant", "cosine")
PRECISIONS = ("float32", "float64")
DIFFUSION_LOSSES = ("matching", "none")
INPUTS = ("real", "random_conditioning", "data_free")


def content_id(identity: Mapping[str, Any]) -> str:
    """16 hexadecimal digits that follow from the content: sha256 of canonical JSON."""
    return hashlib.sha256(canonical_json(identity).encode()).hexdigest()[:16]


def canonical_json(identity: Mapping[str, Any]) -> str:
    """JSON in which equal values have equal text: 1 and 1.0 are one number."""
    return json.dumps(_one_text_a_number(identity), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _one_text_a_number(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {key: _one_text_a_number(item) for key, item in value.items()}
    return [_one_text_a_number(item) for item in value] if isinstance(value, list | tuple) else value


def _values(spec: Any, *, left_out: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in asdict(spec).items() if name not in left_out}


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A diffusers model by class name, or module:name of a user's family, and config; what follows from the data
    (sizes, classes) is not in it.
    """

    name: str
    model_class: str
    config: Mapping[str, Any]
    code: str | None = field(init=False)  # digest of a user's family

    def __post_init__(self) -> None:
        own = plugins.is_path(self.model_class)
        object.__setattr__(self, "code", plugins.code_digest(self.model_class) if own else None)

    def identity(self) -> dict[str, Any]:
        own = {} if self.code is None else {"code": self.code}
        return {"model_class": self.model_class, "config": dict(self.config), **own}


@dataclass(frozen=True, kw_only=True)
class TrainSpec:
    """The training budget and recipe of one model; `key` is the config key that error messages name."""

    steps: int
    batch_size: int
    lr: float
    optimiser: str = "adam"
    lr_schedule: str = "constant"
    max_grad_norm: float = 1.0
    weight_decay: float = 0.0
    ema_decay: float = 0.9999
    ema_warmup: bool = True  # the decay grows to ema_decay from 0.1 on
    precision: str = "float32"
    matmul: str = FLOAT32  # of matrix products and convolutions, teacher and student
    timesteps: str = "antithetic"
    min_lr: float = 0.0  # where the cosine ends
    condition_dropout: float = 0.0  # the part of the images that lose their condition, for guidance
    inputs: str = "real"  # what students are trained on (README, Change the study)
    diffusion_loss: str = "matching"  # counts samples whose condition is their image's, or none
    pool_batches: int | None = None  # inputs=data_free: the batches of the pool; None: 0.4 for every timestep
    pool_steps: int | None = None  # inputs=data_free: denoising steps from noise to image; None: one a timestep
    key: str = field(default="train", compare=False)

    def __post_init__(self) -> None:
        require_whole(f"{self.key}.steps", self.steps, 1)
        require_whole(f"{self.key}.batch_size", self.batch_size, 1, 10**5)
        for name in ("lr", "max_grad_norm"):
            require_number(f"{self.key}.{name}", getattr(self, name), above=0)
        require_number(f"{self.key}.ema_decay", self.ema_decay, at_least=0, below=1)
        require_number(f"{self.key}.weight_decay", self.weight_decay, at_least=0)
        if not isinstance(self.ema_warmup, bool):
            raise ValueError(f"{self.key}.ema_warmup must be true or false but got {self.ema_warmup!r}")
        for name in ("pool_batches", "pool_steps"):
            if getattr(self, name) is not None:
                require_whole(f"{self.key}.{name}", getattr(self, name), 1, 10**5)
        require_number(f"{self.key}.min_lr", self.min_lr, at_least=0, below=self.lr)
        require_number(f"{self.key}.condition_dropout", self.condition_dropout, at_least=0, below=1)
        for name, allowed in (
            ("optimiser", OPTIMISERS),
            ("lr_schedule", LR_SCHEDULES),
            ("precision", PRECISIONS),
            ("matmul", MATMULS),
            ("timesteps", tuple(TIMESTEPS)),
            ("inputs", INPUTS),
            ("diffusion_loss", DIFFUSION_LOSSES),
        ):
            require_choice(f"{self.key}.{name}", getattr(self, name), allowed)
        if self.precision != "float32" and self.matmul != FLOAT32:
            raise ValueError(
                f"{self.key}.matmul must be {FLOAT32} with {self.key}.precision={self.precision}"
                f" but got {self.matmul!r}"
            )

    def identity(self) -> dict[str, Any]:
        return _values(self, left_out=("key",))


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """A model that is there already.

    A diffusers directory, or one that comes with the package (trainables/models/shipped.py), known by the sha256 of its
    config and weights; or a repository of the Hugging Face hub, known by its name and revision, which is fetched when
    the teacher is made.
    """

    digest: str  # or org/name@revision/subfolder
    folder: str | None = None
    shipped: str | None = None  # the name of its folder in the package, wherever that lies on a node
    hub: str | None = None
    revision: str | None = None
    subfolder: str | None = None
    variant: str | None = None  # of its weights, e.g. fp16


@dataclass(frozen=True, kw_only=True)
class TeacherSpec:
    """A teacher, found again by content.

    The study trains it itself (from what it starts from, recipe, data and seed), distils it from a larger teacher (then
    it is an assistant: TAKD, Mirzadeh et al. 2020) or takes it as it is (pretrained; then `train` has no part in it).
    """

    model: StudentSpec  # a PrunedSpec: cut from another teacher, then trained
    train: TrainSpec
    data: DataSpec
    seed: int | None = 0  # of its training; None where that is not known: of a pretrained one
    process: Process = PIXEL
    pretrained: Pretrained | None = None
    larger: TeacherSpec | None = None
    method: Method | None = None  # by which it is distilled from the larger one

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def num_steps(self) -> int:
        """Of training that it takes to make it."""
        return 0 if self.pretrained else self.train.steps

    @property
    def made_from(self) -> tuple[TeacherSpec, ...]:
        """The teachers that must be there before it is made: the one it is cut from, the one it is distilled from."""
        cut_from = (self.model.teacher,) if isinstance(self.model, PrunedSpec) else ()
        return (*cut_from, *((self.larger,) if self.larger else ()))

    @cached_property
    def teacher_id(self) -> str:
        shared = {"data": self.data.identity(), "process": self.process.identity()}
        if self.pretrained is not None:
            own = {} if (code := getattr(self.model, "code", None)) is None else {"code": code}
            return content_id({"pretrained": self.pretrained.digest, **own, **shared})
        if self.larger is not None and self.method is not None:
            shared["distilled"] = {"larger": self.larger.teacher_id, "method": self.method.identity()}
        identity = {"model": self.model.identity(), "train": self.train.identity(), "seed": self.seed}
        return content_id({**identity, **shared})


@dataclass(frozen=True, kw_only=True)
class PrunedSpec:
    """What is cut from a teacher (trainables/pruning): a student, whose members then all start from the same weights,
    or what a smaller teacher starts from.
    """

    name: str
    teacher: TeacherSpec
    pruning: Mapping[str, Any]

    def identity(self) -> dict[str, Any]:
        return {"pruned_from": self.teacher.teacher_id, "pruning": dict(self.pruning)}

    @property
    def initial_id(self) -> str:
        return content_id(self.identity())


StudentSpec = ModelSpec | PrunedSpec


@dataclass(frozen=True, kw_only=True)
class Rung:
    """After `step` steps the FID over num_images images is measured; above the threshold the member is stopped.

    threshold None: it is measured only.
    """

    step: int
    num_images: int
    threshold: float | None


@dataclass(frozen=True, kw_only=True)
class Member:
    """One student run; `teacher` is None exactly when the method does not need one.

    assistant: what it learns from in place of the teacher, which is distilled from it.
    rungs: where it may be stopped early; only members of a search have any (trainables/training/early_stopping.py).
    """

    data: DataSpec
    teacher: TeacherSpec | None
    student: StudentSpec
    method: Method
    seed: int
    train: TrainSpec
    evaluation: EvaluationSpec
    process: Process = PIXEL
    assistant: TeacherSpec | None = None
    rungs: tuple[Rung, ...] = ()

    @property
    def guide(self) -> TeacherSpec | None:
        """The teacher, or teaching assistant, that it learns from."""
        return self.assistant or self.teacher

    def training_identity(self) -> dict[str, Any]:
        return {
            "data": self.data.identity(),
            "teacher": self.teacher.teacher_id if self.teacher else None,
            "student": self.student.identity(),
            "method": self.method.identity(),
            "seed": self.seed,
            "train": self.train.identity(),
            "process": self.process.identity(),
            "assistant": self.assistant.teacher_id if self.assistant else None,
            "rungs": [asdict(rung) for rung in self.rungs],
        }

    def identity(self) -> dict[str, Any]:
        return {**self.training_identity(), "evaluation": self.evaluation.identity()}

    @cached_property
    def train_id(self) -> str:
        return content_id(self.training_identity())

    @cached_property
    def run_id(self) -> str:
        return content_id(self.identity())
