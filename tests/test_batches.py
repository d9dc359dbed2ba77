"""Batches in the order of a seed, shifts of them, and the rate of each step."""

import numpy as np
import pytest
import torch

from tsjepa.arrays import Series
from tsjepa.batches import Batches, ShuffledBatches, circular_shift, keyed_generator
from tsjepa.ranks import Share
from tsjepa.schedule import lr_factor


@pytest.mark.parametrize(
    ("n", "size", "lengths"),
    [(10, 4, [4, 4, 2]), (9, 4, [4, 5]), (3, 8, [3]), (1, 8, [1]), (3, 1, [1, 1, 1]), (1, 1, [1])],
)
def test_batches_cover_every_series_once_and_leave_no_single_one(n, size, lengths):
    sampler = ShuffledBatches(n, size, seed=0)
    batches = list(sampler)
    assert [len(batch) for batch in batches] == lengths
    assert len(sampler) == len(lengths)
    assert sorted(torch.cat(batches).tolist()) == list(range(n))


def test_order_is_a_function_of_seed_and_epoch():
    def order(seed, epoch):
        sampler = ShuffledBatches(50, 8, seed)
        sampler.set_epoch(epoch)
        return torch.cat(list(sampler))

    assert torch.equal(order(0, 3), order(0, 3))
    assert not torch.equal(order(0, 3), order(0, 4))
    assert not torch.equal(order(0, 3), order(1, 3))


def test_keyed_generators_differ_in_every_part_of_the_key():
    draws = {float(torch.rand((), generator=keyed_generator(*key))) for key in np.ndindex(3, 3, 3)}
    assert len(draws) == 27


def test_circular_shift_rotates_the_channels_of_a_series_together():
    x = torch.arange(12.0).repeat(5, 2, 1)
    shifted = circular_shift(x, torch.Generator().manual_seed(0))
    torch.testing.assert_close(shifted[:, 0], shifted[:, 1])
    steps = (shifted[:, 0, 1:] - shifted[:, 0, :-1]) % 12
    assert (steps == 1).all()
    assert len(set(shifted[:, 0, 0].tolist())) > 1


def test_a_share_of_a_batch_is_shifted_as_in_the_whole():
    x, share = torch.arange(12.0).repeat(6, 2, 1), Share(2, 5, total=6)
    whole, part = (circular_shift(rows, keyed_generator(3), of) for rows, of in ((x, None), (share.of(x), share)))
    assert torch.equal(part, share.of(whole))


def test_a_batch_holds_its_series_and_which_of_their_points_were_measured():
    rng = np.random.default_rng(0)
    values, valid = rng.normal(size=(5, 2, 8)).astype(np.float32), rng.random((5, 2, 8)) < 0.6
    valid[1] = False  # it has nothing to predict, and is none of them
    batch = Batches(Series(values, valid))[torch.tensor([3, 1])]
    np.testing.assert_array_equal(batch.x, values[[4, 2]])
    np.testing.assert_array_equal(batch.valid, valid[[4, 2]])
    assert Batches(Series(values))[torch.tensor([3, 1])].valid is None


def test_schedule_warms_up_and_ends_at_zero():
    factors = [lr_factor(step, 100, 0.1) for step in range(101)]
    assert factors[0] == pytest.approx(0.1)
    assert max(factors) == factors[9] == factors[10] == 1
    assert factors[100] == pytest.approx(0, abs=1e-12)
    assert factors[10:] == sorted(factors[10:], reverse=True)


def test_a_schedule_may_warm_up_in_all_its_steps():
    assert [lr_factor(step, 4, 1.0) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
