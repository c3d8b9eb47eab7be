"""What of the measured is wrong. Judges one look at a time; `streaks` asks for more than one before anything is said.

A verdict is a mapping kind -> (whether it is so, the value that says so); a kind that a look cannot tell is left out.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from scipy.special import bdtr

Verdicts = dict[str, tuple[bool, float]]

SHUT, OPEN = 1.0, 99.0  # percent of a map's mean
PASSES = 0.1  # of the input's variation: what a mask of zeros and ones with a mean of SHUT passes, its square root
UNTOUCHED = 0.02  # relative change of the input: with a map beyond SHUT or OPEN, less counts as none
SPREAD = 1e-4  # relative spread of the outputs over images
DOUBT = 1e-3  # of a network at chance that reaches such an accuracy
TELLING = 0.25  # the bound of chance may lie this share of the way from it to 100 %; with fewer images nothing is said
NEAR = 0.01  # relative distance from the loss of a guess


def judge_module(state: Mapping[str, float], learned_gate: bool, threshold: float) -> Verdicts:
    """Judge one module.

    Args:
        state: of `measuring.gate_state`, or the part of it in `resting_state`.
        learned_gate: whether its `gamma` is a parameter.
        threshold: below it a gate or a relative change counts as zero.

    Returns:
        shut, bypassed, open, zero_gate, identity; of those that are so at once only the first.
    """
    opening, change, passed = (state.get(name) for name in ("opening", "change", "passed"))
    found: Verdicts = {}
    if opening is not None:
        untouched = change is not None and change < UNTOUCHED
        extreme = opening < SHUT or opening > OPEN
        if not extreme or passed is not None:
            found["shut"] = (opening < SHUT and passed < PASSES if extreme and passed is not None else False, opening)
            found["bypassed"] = (opening < SHUT and untouched, opening)
            found["open"] = (opening > OPEN and untouched, opening)
    if learned_gate and "gamma" in state:
        found["zero_gate"] = (abs(state["gamma"]) < threshold, state["gamma"])
    if change is not None:
        found["identity"] = (change < threshold, change)
    first = next((kind for kind, (so, _) in found.items() if so), None)
    return {kind: (so and kind == first, value) for kind, (so, value) in found.items()}


def suspicious(state: Mapping[str, float]) -> bool:
    """Whether a map's mean asks for a look at what the module makes of its input."""
    return not SHUT <= state.get("opening", 50.0) <= OPEN


@dataclass(frozen=True)
class Split:
    """What an epoch says of one split: the accuracy in percent over so many images."""

    accuracy: float
    images: int


@dataclass(frozen=True)
class Classes:
    """Of the labels: how many classes there are, the largest one's share, and the entropy of the shares in nats."""

    count: int
    largest: float
    entropy: float


def above_chance(split: Split, share: float) -> bool | None:
    """Whether an accuracy says more than always answering the largest class would.

    At chance each image is right with probability `share`, so the number of right ones is binomial; above chance is
    what a network at chance reaches with a probability below `DOUBT`.

    Args:
        split: accuracy and images.
        share: of the largest class, in (0, 1).

    Returns:
        None where there are too few images to tell: where even an accuracy a quarter of the way from chance to 100 %
        would not count as above.

    >>> above_chance(Split(12.0, 5000), 0.1), above_chance(Split(11.0, 500), 0.1), above_chance(Split(50.0, 24), 0.34)
    (True, False, None)
    """
    if not 0 < share < 1 or not _unlikely(split.images * (share + TELLING * (1 - share)), split.images, share):
        return None
    return _unlikely(split.accuracy / 100 * split.images, split.images, share)


def _unlikely(right: float, images: int, share: float) -> bool:
    """Whether at least so many right ones have a probability below `DOUBT`."""
    return bool(1 - bdtr(round(right) - 1, images, share) < DOUBT) if right >= 1 else False


def judge_epoch(
    splits: Mapping[str, Split], classes: Classes, cross_entropy: float | None, spread: float | None
) -> Verdicts:
    """Judge an epoch of a classifier.

    A run is at chance if no split is above it and one has images enough to tell. The loss of a guess lies between the
    entropy of the classes' shares, the best that always the same answer has, and ln K. Both the loss and the outputs'
    spread count only while no split is above chance: soft targets and small last layers have them, too.

    Args:
        splits: "train" and "val", as far as they are.
        classes: of the labels.
        cross_entropy: the training's, in nats.
        spread: of the outputs over images (`measuring.output_spread`).

    Returns:
        chance, flat_loss, constant.
    """
    above = [above_chance(split, classes.largest) for split in splits.values()]
    learned = any(above)
    found: Verdicts = {}
    if splits and (learned or False in above):
        found["chance"] = (not learned, splits["val" if "val" in splits else "train"].accuracy)
    if cross_entropy is not None:
        guess = (1 - NEAR) * classes.entropy <= cross_entropy <= (1 + NEAR) * math.log(classes.count)
        found["flat_loss"] = (guess and not learned, cross_entropy)
    if spread is not None:
        found["constant"] = (spread < SPREAD and not learned, spread)
    return found
