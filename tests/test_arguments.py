"""The checks of arguments: what each takes and refuses, and the one wording of them all."""

import math

import pytest
from omegaconf import OmegaConf

from zoomexp.arguments import boolean, finite, fraction, integer, list_of, multiple_of, number, odd, one_of
from zoomexp.errors import InputError

NO_NUMBERS = (None, True, False, "1", "one", [1], math.nan, math.inf, -math.inf)
NO_WHOLES = (*NO_NUMBERS, 1.0, 2.5)


def share(field, value):
    finite(field, value, lambda given: 0 <= given < 1, "a number in [0, 1)")


CHECKS = {
    "one of words": (one_of, [("a", "b")], ["a", "b"], ["", "c", None, 1, ["a"]], "one of a, b"),
    "one of numbers": (one_of, [(0.5, 1)], [0.5, 1, 1.0], [True, "1", 0, math.nan], "one of 0.5, 1"),
    "whole": (integer, [], [1, 2, 10**9], [*NO_WHOLES, 0, -1], "a whole number, at least 1"),
    "whole from 0": (integer, [0], [0, 1], [*NO_WHOLES, -1], "a whole number, at least 0"),
    "whole up to 3": (integer, [0, 3], [0, 3], [*NO_WHOLES, -1, 4], "a whole number in 0..3"),
    "odd": (odd, [], [1, 3, 7], [*NO_WHOLES, 0, 2, -1], "an odd whole number, at least 1"),
    "multiple": (multiple_of, [4], [4, 8], [*NO_WHOLES, 0, -4, 2, 6], "a positive multiple of 4"),
    "multiple of 1": (multiple_of, [1], [1, 2], [*NO_WHOLES, 0], "a positive multiple of 1"),
    "number": (number, [], [0, -1e300, 2.5], [*NO_NUMBERS, 10**400], "a finite number"),
    "number from 0": (number, [0], [0, 0.0, 1e300], [*NO_NUMBERS, -1e-9], "a finite number, at least 0"),
    "fraction": (
        fraction,
        [],
        [0, 1, 0.5, "2/3", "0/5", "1/1"],
        [None, True, "1", "one", [1], math.nan, math.inf, -math.inf, 1.5, -0.1, "3/2", "2/0", "-1/2", "1/2/3"],
        "a number in [0, 1], or a fraction such as 2/3",
    ),
    "number up to 1": (number, [0, 1], [0, 0.5, 1], [*NO_NUMBERS, -1e-9, 1.0001], "a number in [0, 1]"),
    "share": (share, [], [0, 0.999], [*NO_NUMBERS, -1e-9, 1], "a number in [0, 1)"),
    "truth": (boolean, [], [True, False], [None, 0, 1, "true"], "true or false"),
    "words": (list_of, [str, "words"], [[], ["a"], ("a", "b")], [None, "a", [1], {"a"}], "a list of words"),
    "numbers": (
        list_of,
        [(int, float), "numbers"],
        [[], [1, 2.5], OmegaConf.create([1, 2])],
        [None, 1, "1", [True], [None], [1, "1"]],
        "a list of numbers",
    ),
}


@pytest.mark.parametrize("name", CHECKS)
def test_what_is_taken_and_refused(name):
    check, limits, taken, refused, allowed = CHECKS[name]
    for value in taken:
        check("group.field", value, *limits)
    for value in refused:
        with pytest.raises(InputError) as error:
            check("group.field", value, *limits)
        assert str(error.value) == f"group.field={value!r} must be {allowed}"


def test_a_refusal_is_one_line_whatever_was_given():
    with pytest.raises(InputError, match=r"^group\.field='a\\nb' must be a whole number, at least 1$"):
        integer("group.field", "a\nb")
