"""Quantities that follow from a run record by arithmetic, each defined on one line."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from zoomexp.metrics.declared import declaration
from zoomexp.metrics.quantity import Quantity, find, key_of

if TYPE_CHECKING:
    from zoomexp.results.filling import RunResult

Flat = Mapping[str, float]
Formula = Callable[[Flat], float]
ERRORS = (20, 15, 12, 10)  # percent, of the convergence table
SHARES = (10, 30, 50, 70, 90, 100)  # percent of the epochs, of the error-by-epoch table
ERROR: dict[str, Any] = {"unit": "%", "higher_is_better": False, "bounds": (0.0, 100.0)}

# Full name -> what it is, and how it follows.
DERIVED: dict[str, tuple[Quantity, Formula]] = {
    "test/error1": (Quantity("error1", "top-1 error", **ERROR, per_image=True, test="mcnemar"),
                    lambda flat: 100 - flat["test/acc1"]),
    "train/error1": (Quantity("error1", "training error", **ERROR), lambda flat: 100 - flat["train/acc1"]),
    "val/error1": (Quantity("error1", "held-out error", **ERROR), lambda flat: 100 - flat["val/acc1"]),
    "val/error1_best": (Quantity("error1_best", "held-out error, best epoch", **ERROR),
                        lambda flat: 100 - flat["val/acc1_best"]),
    "cost/train_h": (Quantity("train_h", "training time", "h", False), lambda flat: flat["cost/train_s"] / 3600),
    "cost/epoch_s": (Quantity("epoch_s", "time of an epoch", "s", False, 1),
                     lambda flat: flat["cost/train_s"] / flat["epochs"]),
    "cost/macs_m": (Quantity("macs_m", "MACs", "M", False, 1, short="MMACs"), lambda flat: flat["cost/macs"] / 1e6),
    "cost/macs_g": (Quantity("macs_g", "MACs", "G", False, 3, short="GMACs"), lambda flat: flat["cost/macs"] / 1e9),
    "cost/macs_host_m": (Quantity("macs_host_m", "MACs without the scorer", "M", False, 2),
                         lambda flat: (flat["cost/macs"] - flat.get("cost/macs_scorer", 0)) / 1e6),
    "cost/macs_scorer_g": (Quantity("macs_scorer_g", "MACs of the scorer", "G", False, 3),
                           lambda flat: flat["cost/macs_scorer"] / 1e9),
    "cost/scorer_params_m": (Quantity("scorer_params_m", "parameters of the scorer", "M", False, 3),
                             lambda flat: flat["cost/scorer_params"] / 1e6),
    "cost/params_m": (Quantity("params_m", "parameters", "M", False), lambda flat: flat["cost/params"] / 1e6),
}  # fmt: skip
# What a run's epochs say, by the key that stands behind the split.
ALONG = (
    Quantity("best_epoch", "best epoch", decimals=0),
    *(Quantity(f"epochs_to_error{error}", f"epochs to {error} % error", "epochs", False, 0) for error in ERRORS),
)


def declared(full: str, own: Sequence[Quantity] = ()) -> Quantity | None:
    """What a full name means: by the run's own task, by this file, or by the package; None if nobody says.

    >>> declared("val/mse_at_10").title, declared("test/error1").mode
    ('MSE after 10 % of the epochs', 'min')
    """
    if (found := find(full, own)) is None and full in DERIVED:
        return DERIVED[full][0]
    return found or declaration(full) or find(full, ALONG) or _along(full, own)


def _along(full: str, own: Sequence[Quantity]) -> Quantity | None:
    """What `along_training` makes of a quantity."""
    lowest = full.removesuffix("_lowest_at")
    if lowest != full and (whole := declared(lowest, own)):
        return Quantity(key_of(full), f"lowest {whole.name} at", "% of the epochs", decimals=0)
    before, at, share = full.rpartition("_at_")
    if at and share.isdecimal() and (whole := declared(before, own)):
        return replace(whole, key=key_of(full), name=f"{whole.name} after {share} % of the epochs", per_image=False,
                       test=None, measure=None, shown=False)  # fmt: skip
    return None


def value_of(key: str, metrics: Flat, cost: Mapping[str, object]) -> float | None:
    """The value of a table column in one run record, or None where the record does not allow it.

    Args:
        key: a key of `metrics`, `cost/<key of cost>`, or one of `DERIVED`.
        metrics: the record's flat metrics.
        cost: the record's cost entry.

    >>> value_of("test/error1", {"test/acc1": 91.0}, {}), value_of("cost/params", {}, {"params": 10})
    (9.0, 10)
    """
    flat: dict[str, Any] = {**metrics, **{f"cost/{name}": value for name, value in cost.items()}}
    flat = {name: value for name, value in flat.items() if isinstance(value, int | float)}
    if key in flat:
        return flat[key]
    try:
        return DERIVED[key][1](flat)
    except (KeyError, ZeroDivisionError):
        return None


def by_seed(key: str, one: Sequence["RunResult"], other: Sequence["RunResult"]) -> list[tuple[float, float]]:
    """The values of two systems' runs with the same seed, seed by seed; of those seeds whose records have both.

    Args:
        key: as in `value_of`.
        one: the runs of a system, one for each seed.
        other: those of another.
    """
    first, second = ({run.seed: value_of(key, run.metrics, run.cost) for run in side} for side in (one, other))
    pairs = ((first[seed], second[seed]) for seed in sorted(first.keys() & second.keys()))
    return [(a, b) for a, b in pairs if a is not None and b is not None]


def from_history(accuracies: Sequence[float]) -> dict[str, float]:
    """What a table may ask of a run's epochs, as metrics; an error that was never reached is left out.

    Args:
        accuracies: `val/acc1` of each epoch in percent (the column of `history.csv`), first epoch first; NaN for one
            that was not validated.

    >>> from_history([80.0, 91.0, 90.5])  # doctest: +NORMALIZE_WHITESPACE
    {'val/best_epoch': 2, 'val/epochs_to_error20': 1, 'val/epochs_to_error15': 2, 'val/epochs_to_error12': 2,
     'val/epochs_to_error10': 2}
    """
    known = [epoch for epoch, accuracy in enumerate(accuracies) if not math.isnan(accuracy)]
    if not known:
        return {}
    found: dict[str, int | None] = {"val/best_epoch": 1 + max(known, key=lambda epoch: accuracies[epoch])}
    found |= {f"val/epochs_to_error{error}": epochs_to_error(accuracies, error) for error in ERRORS}
    return {name: value for name, value in found.items() if value is not None}


def along_training(name: str, values: Sequence[float]) -> dict[str, float]:
    """A metric at tenths of the training, and where in percent of it its lowest value is.

    Args:
        name: of the metric.
        values: its value at each epoch; NaN for one without, at which nothing is told.

    >>> along_training("val/mse", [0.4, 0.2, 0.1, 0.3])  # doctest: +NORMALIZE_WHITESPACE
    {'val/mse_at_10': 0.4, 'val/mse_at_30': 0.2, 'val/mse_at_50': 0.2, 'val/mse_at_70': 0.1, 'val/mse_at_90': 0.3,
     'val/mse_at_100': 0.3, 'val/mse_lowest_at': 75.0}
    """
    epochs, known = len(values), [epoch for epoch, value in enumerate(values) if not math.isnan(value)]
    if not known:
        return {}
    at = {share: -(-share * epochs // 100) - 1 for share in SHARES}
    found = {f"{name}_at_{share}": values[epoch] for share, epoch in at.items() if epoch in known}
    lowest = min(known, key=lambda epoch: values[epoch])
    return found | {f"{name}_lowest_at": 100 * (lowest + 1) / epochs}


def epochs_to_error(accuracies: Sequence[float], error: float) -> int | None:
    """The first epoch, counted from 1, whose error in percent is at or below `error`; None if there is none.

    >>> epochs_to_error([70.0, 85.0, 84.0, 90.0], error=15)
    2
    """
    return next((epoch for epoch, acc in enumerate(accuracies, start=1) if 100 - acc <= error + 1e-9), None)
