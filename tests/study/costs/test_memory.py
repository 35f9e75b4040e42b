"""How many members fit: what they keep, beside the teacher, its features and the activations of one of them."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from study.config.command_line import compose
from study.config.parse import study_config
from study.config.study import StudyConfig
from study.costs.memory import most_members
from study.costs.model import Counts
from trainables.families import predict
from trainables.models import build_model, example_inputs
from trainables.training.execution import Execution
from trainables.training.recorded_features import feature_names, record_features


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> StudyConfig:
    """Eight times the batch of the default one, of which one rank has it all."""
    folder: Path = tmp_path_factory.mktemp("study")
    return study_config(compose("config", [f"study_dir={folder}", "train.batch_size=256", "methods=[out_feat_kd]"]))


def measured(config: StudyConfig) -> tuple[int, int]:
    """Bytes that a real backward pass of the student needs, and those of the largest teacher with its features."""
    shape, batch_size = Counts.of(config).shape, config.train.batch_size
    student, saved = build_model(config.student, shape, seed=0), {}
    own = {one.untyped_storage()._cdata for one in student.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage()._cdata not in own:
            saved[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()
        return tensor

    inputs = example_inputs(shape, batch_size, torch.device("cpu"), torch.float32)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = predict(student, *inputs)
    del output
    teacher = build_model(config.teachers[-1].model, shape, seed=0)
    features = record_features(teacher, feature_names(teacher, "fitnet"))
    with torch.no_grad():
        predict(teacher, *inputs)
    of_teacher = [*teacher.parameters(), *features.values()]
    return sum(saved.values()), sum(one.numel() * 4 for one in of_teacher)


def test_activations_and_features_leave_less_room_for_members(config: StudyConfig) -> None:
    counts, (activations, teacher) = Counts.of(config), measured(config)
    kept = 5 * 4 * counts.student.params
    room = activations + teacher
    for number in (100, 400, 2000):
        found = most_members(config, counts, (room + number * kept) / 0.9)
        assert abs(found - number) <= 0.02 * room / kept + 1
    assert most_members(config, counts, room / 2) == 1  # it is tried, and refused by the member's name
    assert activations > 20 * kept  # what the count of weights alone leaves out


def test_parts_of_a_batch_leave_room_for_more_members(config: StudyConfig) -> None:
    counts, (activations, teacher) = Counts.of(config), measured(config)
    parts = replace(config, execution=Execution(gradient_accumulation=8))
    memory = (activations + teacher) / 0.9
    more = most_members(parts, counts, memory) - most_members(config, counts, memory)
    assert more >= 0.8 * (7 / 8 * activations) / (5 * 4 * counts.student.params)
