"""The students of the paper's tables, cut from models of the paper's size."""

import pytest

from study.config.command_line import compose
from study.config.parse import study_config
from study.config.study import StudyConfig
from trainables.data import data_shape
from trainables.models import count
from trainables.specs import PrunedSpec


def student_of(experiment: str, *overrides: str) -> tuple[PrunedSpec, StudyConfig]:
    argv = [f"+experiment={experiment}", "dry_run=true", *overrides]
    config = study_config(compose("config", argv))
    assert isinstance(config.student, PrunedSpec)
    return config.student, config


def test_seven_layers_of_dit_xl_2_are_dit_d7() -> None:
    """173.1M parameters, as TinyFusion prints of DiT-D7."""
    student, config = student_of("imagenet_dit_table7")
    size = count(student, data_shape(config.data))
    assert size.params / 1e6 == pytest.approx(173.1, rel=0.01)


@pytest.mark.parametrize(
    ("overrides", "millions"),
    [([], 1.312076), (["student.pruning.ratio=0.5"], 19.714179), (["student.teacher=celeba_20m"], None)],
    ids=["a tenth", "half", "of a pruned teacher"],
)
def test_students_of_celeba_have_the_authors_sizes(overrides: list[str], millions: float | None) -> None:
    student, config = student_of("celeba_table6", *overrides)
    size = count(student, data_shape(config.data))
    if millions is None:
        assert size.params < count(student.teacher.model, data_shape(config.data)).params / 5
    else:
        assert size.params == round(millions * 1e6)
