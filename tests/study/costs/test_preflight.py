"""Dry runs of the paper's experiments: device-hours by hand, which kinds of GPU a pack fits, what is fetched."""

from pathlib import Path

import pytest

from study.config.command_line import compose
from study.config.parse import study_config
from study.config.study import StudyConfig
from study.costs import preflight
from study.costs.memory import MemoryNeeds, memory_need
from study.costs.model import find_costs
from study.costs.preflight import GPUS, _fit, describe_fetched, describe_gpus
from study.planning.members import plan_members, plan_packs, plan_teachers
from trainables.training.memory import MemoryNeed

# MACs of one image, in 1e9: of the paper's pixel networks as counted; of DiT as published; of the U-Net of Stable
# Diffusion by hand from BK-SDM's table. Of a layer of Stable Diffusion 3 medium by hand: 12 d^2 for every token of
# image and text (four projections, and an MLP four times as wide), and what all tokens say to each other.
STUDENT, CELEBA, HALF, LESS, LEAST = 0.78, 24.1, 6.06, 5.81, 4.22
BEDROOM, BEDROOM_HALF = 248.0, 62.0
DIT_XL, DIT_14, DIT_7 = 118.7, 59.3, 29.7
SD21, SD21_BASE = 403.0, 270.0
TOKENS, WIDTH = 32 * 32 + 333, 1536
SD3_LAYER = (12 * TOKENS * WIDTH**2 + 2 * TOKENS**2 * WIDTH) / 1e9


def packs(steps: float, batch: int, teachers: float, members: int, student: float) -> float:
    """1e9 MACs: a pass of each pack's teacher, and three of each member's student."""
    return steps * batch * (teachers + 3 * members * student)


def sampling(images: int, passes: int, macs: float) -> float:
    return images * passes * macs


HOURS = {
    "celeba_table1": packs(5e5, 96, CELEBA, 6, STUDENT) + packs(5e5, 96, 0, 1, CELEBA)
    + sampling(50_000, 100, CELEBA + 6 * STUDENT),
    "celeba_table6": 5 * packs(5e5, 96, CELEBA + HALF + LESS + LEAST, 12, STUDENT)
    + packs(1, 96, 0, 1, 5e5 * CELEBA + 2e5 * HALF + 2.4e5 * (LESS + LEAST))
    + sampling(50_000, 100, CELEBA + HALF + LESS + LEAST + 60 * STUDENT),
    "table8_ablation": 5 * packs(5e5, 96, CELEBA, 4, STUDENT) + packs(5e5, 96, 0, 1, CELEBA)
    + sampling(50_000, 100, CELEBA + 20 * STUDENT),
    "group_size_ablation": 5 * packs(5e5, 96, CELEBA, 6, STUDENT) + packs(5e5, 96, 0, 1, CELEBA)
    + sampling(50_000, 100, CELEBA + 30 * STUDENT),
    "lsun_bedroom": packs(5e5, 16, BEDROOM, 3, BEDROOM_HALF) + sampling(5000, 100, BEDROOM + 3 * BEDROOM_HALF),
    "imagenet_dit_table7": packs(5e5, 256, DIT_XL + DIT_14, 4, DIT_7) + packs(5e5, 256, 0, 1, DIT_14)
    + sampling(50_000, 500, DIT_XL + DIT_14 + 4 * DIT_7),
    "sd21_bksdm": packs(5e4, 128, SD21, 2, SD21_BASE) + sampling(30_000, 50, SD21 + 2 * SD21_BASE),
    "sd3_flow": packs(5e5, 256, 24 * SD3_LAYER, 2, 12 * SD3_LAYER) + sampling(30_000, 56, 48 * SD3_LAYER),
}  # fmt: skip


def experiment(name: str, folder: Path, *more: str) -> StudyConfig:
    overrides = [f"+experiment={name}", "dry_run=true", f"study_dir={folder}", "cluster.gpus_per_worker=1", *more]
    return study_config(compose("config", overrides))


@pytest.mark.full
@pytest.mark.parametrize("name", HOURS)
def test_device_hours_are_those_of_a_hand_calculation(name: str, tmp_path: Path) -> None:
    config = experiment(name, tmp_path)
    found = find_costs(config).device_seconds(plan_packs(plan_members(config), None), plan_teachers(config)) / 3600
    assert found == pytest.approx(HOURS[name] * 1e9 / 5e12 / 3600, rel=0.25)


@pytest.fixture(scope="module")
def table6(tmp_path_factory: pytest.TempPathFactory) -> StudyConfig:
    return experiment("celeba_table6", tmp_path_factory.mktemp("study"))


def test_table_6_fits_all_kinds_of_gpu(table6: StudyConfig) -> None:
    costs = find_costs(table6)
    teachers = plan_teachers(table6)
    needs = MemoryNeeds.of(table6, costs.counts, teachers)
    lines = list(describe_gpus(costs, plan_packs(plan_members(table6), None), teachers, needs))
    assert [line.split(":")[0] for line in lines] == [gpu.name for gpu in GPUS]
    assert all(": fits, " in line for line in lines)
    hours = [float(line.split("about ")[1].split()[0]) for line in lines]
    assert hours[2] == pytest.approx(hours[1] * 19.5 / 66.9, rel=0.01)


def test_what_the_members_share_is_counted_once(table6: StudyConfig) -> None:
    need = memory_need(table6, find_costs(table6).counts)
    assert need.total(3) - need.total(2) == 5 * 4 * 1_312_076
    assert need.shared > 4 * 78_700_803
    assert need.total(1, 2) == need.total(1) - need.activations // 2


@pytest.mark.parametrize(
    ("memory", "said"),
    [
        (40, "fits, "),
        (30, "fits with pack.max_members=1, "),
        (16, "fits with pack.max_members=1 pack.gradient_accumulation=4, "),
        (10, "does not fit, "),
    ],
)
def test_the_first_change_that_makes_a_pack_fit_is_named(memory: float, said: str, table6: StudyConfig) -> None:
    need = MemoryNeed(shared=5 * 10**9, member=5 * 10**9, activations=20 * 10**9)
    assert _fit(need, 3, table6, memory * 1e9).startswith(said)


@pytest.mark.full
def test_a_teacher_that_fits_no_card_is_named_with_what_makes_it_fit(tmp_path: Path) -> None:
    config = experiment("imagenet_dit_table7", tmp_path)
    costs, teachers = find_costs(config), plan_teachers(config)
    needs = MemoryNeeds.of(config, costs.counts, teachers)
    (need,) = needs.teachers.values()  # of DiT-D14; DiT-XL/2 is fetched
    assert need.member == 5 * 4 * costs.counts.teachers[teachers[1].teacher_id].params
    assert 90e9 < need.total(1) < 95e9
    a_24, a_100, _ = describe_gpus(costs, plan_packs(plan_members(config), None), teachers, needs)
    assert "teacher dit_d14 does not" in a_24
    assert "(with pack.gradient_accumulation=8 or cluster.teacher_num_workers=8 it does)" in a_24
    assert "(with pack.gradient_accumulation=2 or cluster.teacher_num_workers=2 it does)" in a_100


def test_what_is_fetched_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = experiment("imagenet_dit_table7", tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    said = list(describe_fetched(plan_teachers(config)))
    assert said == ["weights dit_xl_2: to be fetched, facebook/DiT-XL-2-256"]
    monkeypatch.setattr(preflight, "is_cached", lambda _spec: True)
    assert "in the hub's cache of this machine" in next(iter(describe_fetched(plan_teachers(config))))
