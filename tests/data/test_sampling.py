import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelrank.data.sampling import allot, draw


@given(st.lists(st.integers(0, 50), min_size=1, max_size=12), st.integers(0, 300), st.integers(0, 1))
def test_allot_gives_the_total_within_what_is_there(counts, total, keep):
    counts = np.array(counts)
    room = np.maximum(counts - keep, 0)
    shares = allot(counts, total, keep)
    assert shares.sum() == min(total, room.sum())
    assert (shares >= 0).all()
    assert (shares <= room).all()
    if total >= (room > 0).sum():
        assert (shares[room > 0] >= 1).all(), "a class that has images is never forgotten while there is room"


def test_allot_is_in_proportion():
    assert allot(np.array([500, 300, 200]), 10).tolist() == [5, 3, 2]
    assert allot(np.array([1, 1, 998]), 10).tolist() == [1, 1, 8]


def test_draw_is_stratified_sorted_and_repeatable():
    labels = np.repeat([3, 7, 9], [50, 30, 20])
    chosen = draw(labels, 20, 0, "x", count=100)
    assert np.bincount(labels[chosen])[[3, 7, 9]].tolist() == [10, 6, 4]
    assert (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(chosen, draw(labels, 20, 0, "x", count=100))


@pytest.mark.parametrize("other", [{"seed": 1, "purpose": "x"}, {"seed": 0, "purpose": "y"}])
def test_draw_depends_on_seed_and_purpose(other):
    labels = np.arange(200) % 4
    assert draw(labels, 40, 0, "x", count=200).tolist() != draw(labels, 40, **other, count=200).tolist()


def test_draw_leaves_the_global_random_state_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    draw(None, 5, 0, "x", count=10)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002
