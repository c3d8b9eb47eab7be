"""Which images two runs answer differently, on predictions written by hand."""

import numpy as np
import pytest

from zoomexp.analysis.changed import changed, spread
from zoomexp.errors import InputError


def answers(right: list[int]) -> dict[str, np.ndarray]:
    label = np.arange(10) % 3
    return {"index": np.arange(10) + 100, "label": label, "top1": label + 1 - np.array(right)}


BEFORE = answers([1, 1, 1, 1, 0, 0, 0, 0, 0, 1])
AFTER = answers([1, 0, 1, 0, 1, 1, 1, 1, 0, 1])  # won: 104..107, lost: 101, 103


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, [106]), (2, [106, 103]), (4, [105, 101, 107, 103]), (6, [104, 101, 105, 103, 106, 107]),
     (50, [104, 101, 105, 103, 106, 107])],
)  # fmt: skip
def test_half_won_and_half_lost(count, expected):
    assert changed(BEFORE, AFTER, count) == expected


def test_only_one_kind():
    assert changed(BEFORE, answers([1] * 10), 3) == [104, 106, 108]
    assert changed(answers([1] * 10), BEFORE, 3) == [104, 106, 108]


def test_what_cannot_be_compared():
    with pytest.raises(InputError, match="tested on other images"):
        changed({name: values[:5] for name, values in BEFORE.items()}, AFTER, 3)
    with pytest.raises(InputError, match="get the same images right"):
        changed(BEFORE, BEFORE, 3)


def test_spread_is_even_and_never_repeats():
    assert spread(np.arange(5), 9) == [0, 1, 2, 3, 4]
    assert all(len(set(spread(np.arange(37), n))) == n for n in range(1, 38))
