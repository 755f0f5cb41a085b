"""Every example is in exactly one place of each epoch, whatever the buckets, the packing and the batch size."""

from __future__ import annotations

import numpy as np
import pytest

from data_pipeline.plan import EMPTY, Plan
from empatheia_jax.errors import UserError
from empatheia_jax.nn.packed_attention import MOST_SEGMENTS

LENGTHS = np.random.default_rng(0).integers(10, 200, 237)


@pytest.mark.parametrize("seed", [None, 5])
@pytest.mark.parametrize(("buckets", "pack"), [((200,), False), ((64, 128, 200), False), ((256,), True)])
@pytest.mark.parametrize("batch", [1, 4, 32])
def test_an_epoch_holds_each_example_once_in_a_row_that_it_fits(seed, buckets, pack, batch):
    plan = Plan(LENGTHS, batch, buckets, seed, pack)
    for epoch in range(2):
        batches = plan.epoch(epoch)
        found = [index for each in batches for row in each.rows for index in row if index != EMPTY]
        assert sorted(found) == list(range(len(LENGTHS)))
        for each in batches:
            assert len(each.rows) == batch and each.length in buckets
            assert all(sum(LENGTHS[list(row)]) <= each.length for row in each.rows if row[0] != EMPTY)
            assert any(row[0] != EMPTY for row in each.rows)


def test_the_worked_example_of_the_docstring():
    rows = [(each.rows, each.length) for each in Plan([3, 9, 4, 8, 2], 2, (4, 10)).epoch(0)]
    assert rows == [(((0,), (2,)), 4), (((4,), (1,)), 10), (((3,), (EMPTY,)), 10)]


def test_epochs_are_shuffled_apart_and_evaluation_keeps_the_order():
    plan = Plan(LENGTHS, 4, (200,), seed=1)
    assert plan.epoch(0) != plan.epoch(1)
    assert plan.epoch(0) == Plan(LENGTHS, 4, (200,), seed=1).epoch(0)
    assert plan.epoch(0) != Plan(LENGTHS, 4, (200,), seed=2).epoch(0)
    assert [row[0] for each in Plan(LENGTHS, 4, (200,)).epoch(0) for row in each.rows][:237] == list(range(237))


@pytest.mark.parametrize("pack", [False, True])
def test_positions_run_on_through_the_epochs(pack):
    plan = Plan(LENGTHS, 8, (256,), seed=3, pack=pack)
    stream = [(epoch, each) for epoch in range(3) for each in Plan(LENGTHS, 8, (256,), seed=3, pack=pack).epoch(epoch)]
    for position in [0, len(stream) - 1, len(stream) // 2, 5, len(stream) // 3]:  # any order
        assert plan[position] == stream[position]


def test_packing_fills_the_rows():
    batches = Plan(LENGTHS, 1, (400,), seed=0, pack=True).epoch(0)
    assert sum(LENGTHS) / (400 * len(batches)) > 0.95


def test_what_cannot_be_planned_is_an_error():
    with pytest.raises(UserError, match="300 tokens"):
        Plan([300], 1, (200,))
    with pytest.raises(UserError, match="no example"):
        Plan([], 1, (200,))


def test_a_packed_row_holds_no_more_examples_than_fused_attention_takes():
    batches = Plan([2] * 200, 1, (400,), seed=0, pack=True).epoch(0)
    counts = [len(planned.rows[0]) for planned in batches]
    assert max(counts) == MOST_SEGMENTS and sum(counts) == 200
