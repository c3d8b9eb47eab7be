"""Two systems on the same test images: which test is made of a quantity stands in its declaration.

Several seeds of a system are averaged per image (of a measure that is no mean over images: per draw of the images).
Images of which a run has no outcome (NaN: not attacked, for example) are left out.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import cast

import numpy as np

from zoomexp.metrics.quantity import Quantity, key_of
from zoomexp.results.predictions import Predictions
from zoomexp.results.statistics import PairedTest, bootstrap_measure, mcnemar, paired_bootstrap, paired_t


def compare(
    full: str, quantity: Quantity | None, one: Sequence[Predictions], other: Sequence[Predictions]
) -> PairedTest | None:
    """The paired test of a quantity, `one` minus `other`, in its unit.

    Args:
        full: the quantity's full name; only those of the test split have predictions.
        quantity: its declaration.
        one: the predictions of a system, one for each seed.
        other: those of the system it is compared with.

    Returns:
        None where nothing is tested: no test is declared, or there are not the same images with what it needs twice.
    """
    every = [*one, *other]
    if quantity is None or quantity.test is None or full != f"test/{key_of(full)}" or not one or not other:
        return None
    if len({predictions.images for predictions in every}) != 1 or every[0].images == 0:
        return None
    if quantity.test == "bootstrap":
        return _of_measure(quantity, one, other)
    if any(quantity.key not in predictions for predictions in every):
        return None
    a, b = (np.stack([predictions[quantity.key] for predictions in side]) for side in (one, other))
    measured = np.isfinite(a).all(0) & np.isfinite(b).all(0)
    if not measured.any():
        return None
    a, b = a[:, measured], b[:, measured]
    if quantity.test == "paired_t":
        return paired_t(a, b)
    return mcnemar(a, b) if len(a) == len(b) == 1 else paired_bootstrap(a, b)


def _of_measure(quantity: Quantity, one: Sequence[Predictions], other: Sequence[Predictions]) -> PairedTest | None:
    module, _, name = cast(str, quantity.measure).rpartition(".")
    try:
        measure = getattr(import_module(module), name)
        a, b = (np.mean([run.redrawn(measure) for run in side], axis=0) for side in (one, other))
    except (ImportError, AttributeError, KeyError):  # a record of a task that is not here, or from before it had them
        return None
    whole, draws = float(a[0] - b[0]), a[1:] - b[1:]
    return None if np.isnan(whole) else bootstrap_measure(whole, draws)
