"""The students of the paper's tables, cut from models of the paper's size."""

from dataclasses import replace

import pytest

from study.config.command_line import compose
from study.config.parse import study_config
from trainables.data import data_shape, load_data
from trainables.families import predict
from trainables.models import build_model, count, count_model, example_inputs
from trainables.pruning import prune
from trainables.specs import PrunedSpec


def student_of(experiment: str, *overrides: str) -> tuple[PrunedSpec, object]:
    argv = [f"+experiment={experiment}", "data=generated", "data.num_images=2", "dry_run=true", *overrides]
    config = study_config(compose("config", argv))
    assert isinstance(config.student, PrunedSpec)
    return config.student, config


@pytest.mark.full
def test_nine_tenths_of_the_channels_leave_about_a_sixtieth_of_the_parameters() -> None:
    """The paper prints 1.3M of 78.7M parameters; Diff-Pruning at 90%, rounded up to 16 channels, leaves 1.24M."""
    student, config = student_of("celeba_table6", "data.size=64")
    data = load_data(config.data)  # type: ignore[attr-defined]
    teacher = build_model(student.teacher.model, data.shape, seed=0)
    settings = dict(student.pruning) | {"num_steps": 1, "batch_size": 1}
    pruned = prune(teacher, settings, data=data, process=student.teacher.process)
    size = count_model(pruned, data.shape)
    assert size.params / 1e6 == pytest.approx(1.24, rel=0.01)
    assert size.params / 1e6 == pytest.approx(1.3, rel=0.06)
    x_t, time, condition = example_inputs(
        data.shape, 1, next(pruned.parameters()).device, next(pruned.parameters()).dtype
    )
    assert predict(pruned, x_t, time, condition).shape == x_t.shape


def test_seven_layers_of_dit_xl_2_are_dit_d7() -> None:
    """173.1M parameters, as TinyFusion prints of DiT-D7."""
    student, config = student_of("imagenet_dit_table7", "data.size=32", "data.channels=4", "data.num_classes=1000")
    teacher = student.teacher.model
    shallow = replace(teacher, config={**teacher.config, "num_layers": student.pruning["num_layers"]})
    size = count(shallow, data_shape(config.data))  # type: ignore[attr-defined]
    assert size.params / 1e6 == pytest.approx(173.1, rel=0.01)
