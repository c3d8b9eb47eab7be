"""Quantities that follow from a run record by arithmetic, each defined on one line."""

from collections.abc import Callable, Mapping, Sequence

Flat = Mapping[str, float]
ERRORS = (20, 15, 12, 10)  # percent, of the convergence table
SHARES = (10, 30, 50, 70, 90, 100)  # percent of the epochs, of the error-by-epoch table

DERIVED: dict[str, Callable[[Flat], float]] = {
    "test/error1": lambda flat: 100 - flat["test/acc1"],  # percent
    "train/error1": lambda flat: 100 - flat["train/acc1"],  # percent, last epoch
    "val/error1": lambda flat: 100 - flat["val/acc1"],  # percent, last epoch
    "val/error1_best": lambda flat: 100 - flat["val/acc1_best"],  # percent, lowest over the epochs
    "cost/train_h": lambda flat: flat["cost/train_s"] / 3600,
    "cost/epoch_s": lambda flat: flat["cost/train_s"] / flat["epochs"],
    "cost/macs_m": lambda flat: flat["cost/macs"] / 1e6,
    "cost/macs_g": lambda flat: flat["cost/macs"] / 1e9,
    "cost/macs_host_m": lambda flat: (flat["cost/macs"] - flat.get("cost/macs_scorer", 0)) / 1e6,  # without the scorer
    "cost/macs_scorer_g": lambda flat: flat["cost/macs_scorer"] / 1e9,
    "cost/scorer_params_m": lambda flat: flat["cost/scorer_params"] / 1e6,
    "cost/params_m": lambda flat: flat["cost/params"] / 1e6,
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


def along_training(name: str, values: Sequence[float]) -> dict[str, float]:
    """A metric at tenths of the training, and where in percent of it its lowest value is.

    Args:
        name: of the metric.
        values: its value at each epoch.

    >>> along_training("val/mse", [0.4, 0.2, 0.1, 0.3])  # doctest: +NORMALIZE_WHITESPACE
    {'val/mse_at_10': 0.4, 'val/mse_at_30': 0.2, 'val/mse_at_50': 0.2, 'val/mse_at_70': 0.1, 'val/mse_at_90': 0.3,
     'val/mse_at_100': 0.3, 'val/mse_lowest_at': 75.0}
    """
    epochs = len(values)
    found = {f"{name}_at_{share}": values[-(-share * epochs // 100) - 1] for share in SHARES}
    lowest = min(range(epochs), key=lambda epoch: values[epoch])
    return found | {f"{name}_lowest_at": 100 * (lowest + 1) / epochs}


def epochs_to_error(accuracies: Sequence[float], error: float) -> int | None:
    """The first epoch, counted from 1, whose error in percent is at or below `error`; None if there is none.

    >>> epochs_to_error([70.0, 85.0, 84.0, 90.0], error=15)
    2
    """
    return next((epoch for epoch, acc in enumerate(accuracies, start=1) if 100 - acc <= error + 1e-9), None)
