"""Which images two runs answer differently, on predictions written by hand."""

import numpy as np
import pytest

from zoomexp.analysis.changed import changed, spread
from zoomexp.errors import InputError


def answers(right: list[int]) -> dict[str, np.ndarray]:
    label = np.arange(10) % 3
    return {"index": np.arange(10) + 100, "label": label, "acc1": np.array(right, bool)}


BEFORE = answers([1, 1, 1, 1, 0, 0, 0, 0, 0, 1])
AFTER = answers([1, 0, 1, 0, 1, 1, 1, 1, 0, 1])  # won: 104..107, lost: 101, 103


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, [106]), (2, [106, 103]), (4, [105, 101, 107, 103]), (6, [104, 101, 105, 103, 106, 107]),
     (50, [104, 101, 105, 103, 106, 107])],
)  # fmt: skip
def test_half_won_and_half_lost(count, expected):
    assert changed(BEFORE, AFTER, count, "acc1") == expected


def test_only_one_kind():
    assert changed(BEFORE, answers([1] * 10), 3, "acc1") == [104, 106, 108]
    assert changed(answers([1] * 10), BEFORE, 3, "acc1") == [104, 106, 108]


def test_what_cannot_be_compared():
    with pytest.raises(InputError, match="tested on other images"):
        changed({name: values[:5] for name, values in BEFORE.items()}, AFTER, 3, "acc1")
    with pytest.raises(InputError, match="get the same images right"):
        changed(BEFORE, BEFORE, 3, "acc1")
    with pytest.raises(InputError, match="by which each image is right or wrong"):
        changed(BEFORE, AFTER, 3, "nll")
    with pytest.raises(InputError, match="by which each image is right or wrong"):
        changed(*({**side, "acc1": np.zeros(10)} for side in (BEFORE, AFTER)), 3, "acc1")


def test_spread_is_even_and_never_repeats():
    assert spread(np.arange(5), 9) == [0, 1, 2, 3, 4]
    assert all(len(set(spread(np.arange(37), n))) == n for n in range(1, 38))
