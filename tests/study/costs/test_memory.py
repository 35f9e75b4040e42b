"""How many members fit: what they keep, beside the teacher, its features and the activations of one of them."""

import re
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from study.config.command_line import compose
from study.config.parse import study_config
from study.config.study import StudyConfig
from study.costs.activations import sampling_bytes
from study.costs.dry_run import describe
from study.costs.memory import most_members
from study.costs.model import Counts
from trainables.evaluation.micro_batches import micro_batch_size
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


def test_sampling_takes_what_a_profile_of_it_shows(config: StudyConfig) -> None:
    shape, spec = Counts.of(config).shape, config.teachers[0].model
    model = build_model(spec, shape, seed=0).eval()
    inputs = example_inputs(shape, micro_batch_size(shape.image), torch.device("cpu"), torch.float32)
    with torch.no_grad(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        predict(model, *inputs)
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    allocated = accumulate(event.nbytes() for event in sorted(events, key=lambda event: event.start_ns()))
    weights = sum(parameter.nbytes for parameter in model.parameters())
    assert sampling_bytes(spec, shape) == pytest.approx(max(allocated) + weights, rel=0.15)


@pytest.mark.full
def test_attention_takes_no_matrix_of_all_pairs(tmp_path: Path) -> None:
    overrides = ["+experiment=sd21_bksdm", "dry_run=true", f"study_dir={tmp_path}"]
    config = study_config(compose("config", overrides))
    matrix = 4 * 64 * 5 * (64 * 64) ** 2  # of 64 images, 5 heads of the first blocks, 4096 tokens each
    assert sampling_bytes(config.student, Counts.of(config).shape) < matrix


def test_a_dry_run_says_what_training_and_sampling_take(tmp_path: Path) -> None:
    said = describe(study_config(compose("config", [f"study_dir={tmp_path}", "teachers=[unet_16]"])))
    assert re.search(r"teacher unet_16: .*, to be trained in \S+ \SB a worker, sampled in \S+ \SB$", said, re.M)
    assert re.search(
        r"^memory of a worker: about \S+ \SB to train a pack, \S+ \SB to sample 256 images at once", said, re.M
    )
