"""Batches that a thread draws ahead are those of the stream, to the bit."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields

import pytest
import torch

from trainables.data.dataset import CLASSES, Dataset
from trainables.data.prefetch import Prefetched
from trainables.data.streams import Batch, SeedStream
from trainables.process import PIXEL
from trainables.ranks import Ranks

NUM_STEPS = 7


def stream(seed: int = 3, rank: int = 0, world_size: int = 1) -> SeedStream:
    images = torch.randint(0, 256, (10, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    data = Dataset(
        images=images,
        conditions={CLASSES: torch.arange(10)},
        null={CLASSES: torch.tensor(10)},
        num_classes=10,
        flip=True,
    )
    return SeedStream(
        data,
        PIXEL,
        seed=seed,
        batch_size=4,
        timesteps="antithetic",
        ranks=Ranks(rank, world_size),
        condition_dropout=0.3,
        random_conditioning=True,
    )


@contextmanager
def prefetched(of: SeedStream, ahead: int) -> Iterator[Prefetched]:
    one = Prefetched(of, num_steps=NUM_STEPS, ahead=ahead, pin=False)
    try:
        yield one
    finally:
        one.close()


def assert_equal(one: Batch, other: Batch) -> None:
    for field in fields(Batch):
        mine, its = getattr(one, field.name), getattr(other, field.name)
        if isinstance(mine, dict):
            assert {key: value.tolist() for key, value in mine.items()} == {k: v.tolist() for k, v in its.items()}
        else:
            assert torch.equal(mine, its), field.name


@pytest.mark.parametrize("ahead", [0, 1, 3, 100])
@pytest.mark.parametrize("first", [0, 4])  # where a checkpoint goes on
@pytest.mark.parametrize("ranks", [(0, 1), (1, 2)])
def test_batches_are_the_same_to_the_bit(ahead: int, first: int, ranks: tuple[int, int]) -> None:
    with prefetched(stream(3, *ranks), ahead) as ours:
        for step in range(first, NUM_STEPS):
            assert_equal(ours.batch(step), stream(3, *ranks).batch(step))


def test_the_next_batches_are_drawn_before_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    one, drawn = stream(), []
    third = threading.Event()
    draw = one.batch

    def noted(step: int) -> Batch:
        drawn.append((step, threading.current_thread() is threading.main_thread()))
        if step == 2:
            third.set()
        return draw(step)

    monkeypatch.setattr(one, "batch", noted)
    with prefetched(one, 2) as ours:
        ours.batch(0)
        assert third.wait(timeout=60)
    assert drawn == [(0, False), (1, False), (2, False)]


def test_nothing_is_drawn_past_the_end_and_the_thread_ends() -> None:
    before = set(threading.enumerate())
    with prefetched(stream(), 100) as ours:
        ours.batch(0)
        assert set(ours._drawn) == set(range(1, NUM_STEPS))
        assert len(set(threading.enumerate()) - before) == 1
    assert set(threading.enumerate()) == before


def test_what_fails_in_the_thread_is_raised_where_the_batch_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    one = stream()

    def lost(_step: int) -> Batch:
        raise OSError("the folder is away")

    monkeypatch.setattr(one, "batch", lost)
    with prefetched(one, 1) as ours, pytest.raises(OSError, match="the folder is away"):
        ours.batch(0)


def test_a_batch_maps_every_tensor() -> None:
    batch = stream().batch(0)
    doubled = batch.mapped(lambda values: values.double())
    for field in fields(Batch):
        value = getattr(doubled, field.name)
        assert all(one.dtype == torch.float64 for one in (value.values() if isinstance(value, dict) else [value]))
    moved = batch.to(torch.device("cpu"), torch.float64)
    assert (moved.x_t.dtype, moved.t.dtype, moved.condition[CLASSES].dtype) == (torch.float64, torch.int64, torch.int64)
