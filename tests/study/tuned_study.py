"""A tuned study without training: its config, and outcomes that follow from a member alone."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from trained_study import TRAINED

from study.config.command_line import compose
from study.config.parse import study_config
from study.config.study import StudyConfig
from study.config.tuning import make_tuning
from study.search.outcomes import Outcome
from trainables.seeds import derived_seed
from trainables.specs import Member

SMALL = (
    "protocol=tuned",
    "protocol.teachers=[unet_64]",
    "protocol.num_trials=6",
    "protocol.trials_per_round=2",
    "protocol.startup_trials=2",
)

# Made-up FIDs follow from run ids, so the budget that the ids hang on is fixed here.
DEFAULT = [*TRAINED, "train.steps=200"]


@cache
def default_study() -> StudyConfig:
    return study_config(compose("config", DEFAULT))


def tuned_config(study_dir: Path, *overrides: str) -> StudyConfig:
    """That study under overrides of protocol, search_space, method and pack; models are looked at only once."""
    cfg: Any = OmegaConf.to_container(compose("config", [*TRAINED, *SMALL, *overrides]), resolve=True)
    study = default_study()
    names = [teacher.name for teacher in study.teachers]
    tuning = make_tuning(
        cfg["protocol"], cfg["search_space"], recipe=cfg["method"], teachers=names, num_elements=64, own={}
    )
    return replace(
        study,
        study_dir=study_dir,
        tuning=tuning,
        recipe=cfg["method"],
        max_members=cfg["pack"]["max_members"],
        teachers=tuple(teacher for teacher in study.teachers if teacher.name in tuning.teachers),
    )


def outcome(member: Member) -> Outcome:
    """A made-up FID from 10 to 110; a member above a rung's threshold is stopped there."""
    fid = 10 + derived_seed(member.train_id) % 1000 / 10
    steps, rung_fids = member.train.steps, {}
    for rung in member.rungs:
        rung_fids[rung.step] = fid + 1
        if rung.threshold is not None and fid + 1 > rung.threshold:
            steps = rung.step
            break
    return Outcome(fid, steps, 1.0, rung_fids)


def finish(search: object, outcomes: dict[str, Outcome]) -> list[Member]:
    """Advances a TeacherSearch to its end and returns every member that it asked for, in order."""
    asked = []
    while members := search.advance(outcomes):  # type: ignore[attr-defined]
        asked += members
        outcomes |= {member.run_id: outcome(member) for member in members}
    return asked
