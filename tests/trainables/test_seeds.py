"""Randomness follows from its address, on every machine and in every order."""

import torch

from trainables.seeds import derived_generator, derived_seed


def test_seeds_stay_what_they_are() -> None:
    """Records name seeds; another derivation would silently make other runs of them."""
    assert derived_seed(0, "noise", 0) == 8369501531652801859
    assert derived_seed(7, "initial weights") == 4811230409335520768


def test_every_part_of_the_key_counts() -> None:
    keys = [(0, "noise", 0), (1, "noise", 0), (0, "order", 0), (0, "noise", 1), (0, "noise"), (0, 0, "noise")]
    seeds = {derived_seed(*key) for key in keys}
    assert len(seeds) == len(keys)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_generators_are_independent_of_each_other_and_of_the_default_one() -> None:
    state = torch.get_rng_state()
    first = derived_generator(3, "noise", 5)
    torch.randn(10, generator=derived_generator(4, "noise", 5))
    assert torch.equal(torch.randn(4, generator=first), torch.randn(4, generator=derived_generator(3, "noise", 5)))
    assert torch.equal(torch.get_rng_state(), state)
