"""Quantities that follow from a run record by arithmetic, each defined on one line."""

from collections.abc import Callable, Mapping, Sequence

Flat = Mapping[str, float]
ERRORS = (20, 15, 12, 10)  # percent, of the convergence table

DERIVED: dict[str, Callable[[Flat], float]] = {
    "test/error1": lambda flat: 100 - flat["test/acc1"],  # percent
    "train/error1": lambda flat: 100 - flat["train/acc1"],  # percent, last epoch
    "val/error1": lambda flat: 100 - flat["val/acc1"],  # percent, last epoch
    "val/error1_best": lambda flat: 100 - flat["val/acc1_best"],  # percent, lowest over the epochs
    "cost/train_h": lambda flat: flat["cost/train_s"] / 3600,
    "cost/epoch_s": lambda flat: flat["cost/train_s"] / flat["epochs"],
    "cost/macs_m": lambda flat: flat["cost/macs"] / 1e6,
}


def quantity(key: str, metrics: Flat, cost: Mapping[str, object]) -> float | None:
    """The value of a table column in one run record, or None where the record does not allow it.

    Args:
        key: a key of `metrics`, `cost/<key of cost>`, or one of `DERIVED`.
        metrics: the record's flat metrics.
        cost: the record's cost entry.

    >>> quantity("test/error1", {"test/acc1": 91.0}, {}), quantity("cost/params", {}, {"params": 10})
    (9.0, 10)
    """
    flat = {**metrics, **{f"cost/{name}": value for name, value in cost.items()}}
    flat = {name: value for name, value in flat.items() if isinstance(value, int | float)}
    if key in flat:
        return flat[key]
    try:
        return DERIVED[key](flat)
    except (KeyError, ZeroDivisionError):
        return None


def from_history(accuracies: Sequence[float]) -> dict[str, float]:
    """What a table may ask of a run's epochs, as metrics; an error that was never reached is left out.

    Args:
        accuracies: `val/acc1` of each epoch in percent (the column of `history.csv`), first epoch first.

    >>> from_history([80.0, 91.0, 90.5])  # doctest: +NORMALIZE_WHITESPACE
    {'val/best_epoch': 2, 'val/epochs_to_error20': 1, 'val/epochs_to_error15': 2, 'val/epochs_to_error12': 2,
     'val/epochs_to_error10': 2}
    """
    if len(accuracies) == 0:
        return {}
    found = {"val/best_epoch": 1 + max(range(len(accuracies)), key=lambda epoch: accuracies[epoch])}
    found |= {f"val/epochs_to_error{error}": epochs_to_error(accuracies, error) for error in ERRORS}
    return {name: value for name, value in found.items() if value is not None}


def epochs_to_error(accuracies: Sequence[float], error: float) -> int | None:
    """The first epoch, counted from 1, whose error in percent is at or below `error`; None if there is none.

    >>> epochs_to_error([70.0, 85.0, 84.0, 90.0], error=15)
    2
    """
    return next((epoch for epoch, acc in enumerate(accuracies, start=1) if 100 - acc <= error + 1e-9), None)
