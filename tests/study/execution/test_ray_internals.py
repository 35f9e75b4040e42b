"""Ray's private parts are where study/execution/ray_internals.py expects them, or one sentence says which is not."""

import re

import pytest
import ray
from ray.train import ScalingConfig
from ray.train.torch import TorchTrainer
from ray.train.v2._internal import constants

from study.execution import ray_internals


@pytest.mark.parametrize("name", sorted(ray_internals.CHECKS))
def test_ray_has_what_is_used_of_its_private_parts(name: str) -> None:
    ray_internals.CHECKS[name]()


def test_what_ray_has_moved_is_named_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(constants, "ENV_VARS_TO_PROPAGATE")
    sentence = rf"Ray {re.escape(ray.__version__)} has no ray\.train\.v2\._internal\.constants.*ray_internals\.py"
    with pytest.raises(RuntimeError, match=sentence):
        ray_internals.pass_on_to_controllers("RAY_ADDRESS")


@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")  # of its own settings
def test_a_trainer_starts_no_actor_that_is_of_no_use() -> None:
    """The names are Ray's: should they change, its own trainer has them no more."""
    scaling = ScalingConfig(num_workers=1)
    theirs, ours = (
        {type(one).__name__ for one in trainer(print, scaling_config=scaling)._create_default_callbacks()}
        for trainer in (TorchTrainer, ray_internals.lean_torch_trainer())
    )
    assert theirs - ours == set(ray_internals.UNUSED_CALLBACKS)
