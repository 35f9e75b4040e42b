"""Every family: built from the shape of the data, called under its conditions, saved, loaded, trained and sampled."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from family_models import ALL, CONDITIONAL_UNET, DIT, MMDIT, UNET, data_for
from tiny import evaluation_spec, member, train_spec

from trainables.evaluation.sample import sample_images
from trainables.families import family_of, predict, split_variance
from trainables.models import build_model, count, count_model, example_inputs, load_model
from trainables.models.digest import weights_digest
from trainables.models.saved import save_model
from trainables.process import FLOW, PIXEL, Process
from trainables.ranks import Ranks
from trainables.specs import ModelSpec
from trainables.training.pack import Progress, train_pack
from trainables.training.recorded_features import feature_names

SPECS = pytest.mark.parametrize("spec", ALL.values(), ids=ALL)


def process_of(spec: ModelSpec) -> Process:
    return Process(scheduler=FLOW, config={"shift": 3.0}) if spec is MMDIT else PIXEL


def random_inputs(spec: ModelSpec) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    data = data_for(spec)
    indices = torch.arange(3)
    return data.x_0(indices), torch.tensor([5, 500, 900]), data.condition(indices)


@SPECS
def test_a_model_answers_in_the_shape_of_its_input_and_hears_its_condition(spec: ModelSpec) -> None:
    model = build_model(spec, data_for(spec).shape, seed=0).eval()
    x_t, time, condition = random_inputs(spec)
    output, variance = split_variance(predict(model, x_t, time, condition), 4)
    assert output.shape == x_t.shape
    assert (variance is not None) == (spec is DIT)
    for name, values in condition.items():
        with torch.no_grad():
            for parameter in model.parameters():  # outputs that begin as zero would hear nothing
                parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) / 10)
        heard = predict(model, x_t, time, condition)
        other = predict(model, x_t, time, {**condition, name: values.flip(0)})
        assert not torch.allclose(heard[0], other[0])


@SPECS
def test_a_saved_model_is_the_same_after_loading(spec: ModelSpec, tmp_path: Path) -> None:
    model = build_model(spec, data_for(spec).shape, seed=0).eval()
    save_model(model, tmp_path / "model", "facts.json", {}, PIXEL)
    loaded = load_model(tmp_path / "model").eval()
    assert weights_digest(loaded) == weights_digest(model)
    assert torch.equal(predict(loaded, *random_inputs(spec)), predict(model, *random_inputs(spec)))
    assert sum(p.numel() for p in loaded.parameters()) == sum(p.numel() for p in model.parameters())


@SPECS
def test_sizes_are_counted_without_weights(spec: ModelSpec) -> None:
    shape = data_for(spec).shape
    size = count(spec, shape)
    assert size == count_model(build_model(spec, shape, seed=0), shape)
    assert size.params > 500
    assert size.macs > 10_000


def test_a_dit_shares_its_embedder_and_drops_no_label_of_its_own() -> None:
    model = build_model(DIT, data_for(DIT).shape, seed=0).train()
    x_t, time, condition = random_inputs(DIT)
    assert torch.equal(predict(model, x_t, time, condition), predict(model, x_t, time, condition))
    first, *others = (block.norm1.emb for block in model.transformer_blocks)
    assert all(other is first for other in others)


@pytest.mark.parametrize(
    ("spec", "feature"),
    [
        (UNET, "fitnet"),
        (UNET, "block"),
        (CONDITIONAL_UNET, "block"),
        (DIT, "masked"),
        (DIT, "block"),
        (MMDIT, "masked"),
    ],
)
def test_every_family_trains_with_its_feature_loss(spec: ModelSpec, feature: str) -> None:
    """A student of half the depth, where layers are compared, else of the teacher's shape; two steps change it."""
    config = {"num_layers": 2} if spec is DIT else {}
    student = replace(spec, name="student", config={**spec.config, **config})
    data = data_for(spec)
    shape = data.shape
    one = member(
        "lift_place_feat",
        student=student,
        train=train_spec(steps=2, batch_size=4, condition_dropout=0.5),
        feature=feature,
        reduction="mean",
    )
    one = replace(one, process=process_of(spec))
    teacher = build_model(spec, shape, seed=9).eval().requires_grad_(False)
    (trained,) = train_pack(
        [one], teacher, data, initial=Path(), device=torch.device("cpu"), ranks=Ranks(), progress=Progress()
    )
    assert trained.diverged_at_step is None
    assert trained.curve[-1]["loss_feat"] > 0
    assert weights_digest(trained.model) != weights_digest(build_model(student, shape, seed=0))


def test_a_feature_loss_that_does_not_apply_is_named() -> None:
    model = build_model(UNET, data_for(UNET).shape, seed=0)
    with pytest.raises(ValueError, match=r"method.feature=masked does not apply to a UNet2DModel"):
        feature_names(model, "masked")


@SPECS
def test_every_family_is_sampled_with_guidance(spec: ModelSpec) -> None:
    data = data_for(spec)
    model = build_model(spec, data.shape, seed=0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) / 10)
    sampler = "euler" if spec is MMDIT else "ddpm"

    def sample(guidance: float) -> torch.Tensor:
        return sample_images(
            model, data, process_of(spec), num_images=5, sampler=sampler, sampler_steps=3, guidance=guidance,
            noise_seed=0, batch_size=8,
        )  # fmt: skip

    plain, guided = sample(1.0), sample(3.0)
    assert plain.shape == (5, 4, 8, 8)
    assert torch.equal(plain, guided) == (not data.conditions)


def test_guidance_leads_away_from_the_null_condition() -> None:
    """unconditional + w (conditional - unconditional), of a model whose answer is its label."""
    from trainables.evaluation.sample import _Guided

    class Labels(family_of_dit()):
        def forward(self, x: torch.Tensor, timestep: object, class_labels: torch.Tensor, return_dict: bool) -> tuple:
            return (class_labels.view(-1, 1, 1, 1).expand(-1, 8, 8, 8).float(),)

    model = Labels(**DIT.config, in_channels=4, out_channels=8, num_embeds_ada_norm=3, sample_size=8)
    name = "class_labels"
    answer, labels = partial(predict, model), {name: torch.tensor([1, 2])}
    guided = _Guided(answer, labels, {name: torch.tensor(3)}, 4.0, "all", 2, 1, torch.float32)
    prediction, variance = guided(torch.zeros(2, 4, 8, 8), torch.tensor(7))
    assert prediction[:, 0, 0, 0].tolist() == [3 + 4 * (1 - 3), 3 + 4 * (2 - 3)]
    assert variance[:, 0, 0, 0].tolist() == [1.0, 2.0]


def family_of_dit() -> type:
    return family_of(build_model(DIT, data_for(DIT).shape, seed=0)).model_class


def test_example_inputs_have_what_the_data_gives() -> None:
    x_t, time, condition = example_inputs(data_for(MMDIT).shape, 2, torch.device("cpu"), torch.float64)
    assert x_t.shape == (2, 4, 8, 8)
    assert time.shape == (2,)
    assert {name: tuple(value.shape) for name, value in condition.items()} == {
        "encoder_hidden_states": (2, 5, 6),
        "pooled_projections": (2, 7),
    }


def test_the_evaluation_protocol_takes_guidance() -> None:
    assert evaluation_spec(guidance=1.0).identity() == evaluation_spec().identity()
    assert evaluation_spec(guidance=2.0).identity() != evaluation_spec().identity()
