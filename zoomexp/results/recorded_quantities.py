"""What a run record says of its own quantities, and which of the declared ones it holds."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from zoomexp.metrics.declared import DECLARED, MAINS
from zoomexp.metrics.quantity import Quantity, restored
from zoomexp.results.derived import declared


def entry(main: Quantity, quantities: Iterable[Quantity]) -> dict[str, Any]:
    """The record's part about quantities: the main one's key, and the declarations that are not the package's."""
    return {"main": main.key, "quantities": [one.stored() for one in quantities if one not in DECLARED]}


def quantities_of(facts: Mapping[str, Any]) -> tuple[Quantity, ...]:
    """The quantities that the run's task declares beside the package's."""
    return tuple(restored(stored) for stored in facts.get("quantities") or ())


def main_of(facts: Mapping[str, Any]) -> str:
    """The key of the run's main quantity; of a record from before there was one, the first of `MAINS` that it holds."""
    held = (quantity.key for quantity in MAINS if f"test/{quantity.key}" in facts.get("metrics", {}))
    return facts.get("main") or next(held, MAINS[0].key)


def overview(records: Sequence[Mapping[str, Any]]) -> dict[str, Quantity]:
    """What overviews show of these records: full name of the test split -> quantity, each that at least one holds.

    Args:
        records: the facts of runs; those that have failed may lack `metrics`.
    """
    own = dict.fromkeys(quantity for facts in records for quantity in quantities_of(facts))
    known = {quantity.key: quantity for quantity in (*DECLARED, *own) if quantity.shown}
    held = {name for facts in records for name in facts.get("metrics", {})}
    return {f"test/{key}": quantity for key, quantity in known.items() if f"test/{key}" in held}


def meaning(full: str, records: Sequence[Mapping[str, Any]] = ()) -> Quantity:
    """What a full name means in these records; a name that nobody has declared stands for itself."""
    own = [quantity for facts in records for quantity in quantities_of(facts)]
    return declared(full, own) or Quantity(full, full)
