"""What a measured number is, declared once: whoever shows, compares, watches or stores numbers reads it here.

A number's full name is `split/key`, for example `test/acc1`; the splits are train, val, test, step (running averages
while training), gate (the inserted modules), start (the same before the first step) and cost. Nothing here imports
torch: reports read declarations, too.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

SPLITS = ("train", "val", "test", "step", "gate", "start", "cost")
TESTS = ("mcnemar", "paired_t", "bootstrap")
SMALL = 9.95  # where a number has two digits without decimals
BEST = "_best"  # `val/acc1_best`: the value of the best epoch
SETTING = re.compile(r"(?P<whole>.*?)(?P<count>\d*)@(?P<setting>[^/@]+)")  # `robust/pgd20@1`: of 20 steps, at radius 1


@dataclass(frozen=True)
class Quantity:
    """One quantity.

    Args:
        key: its name within a split: "acc1".
        name: in words: "top-1 accuracy".
        unit: "%", "s", ...; "" for none. Shares are given in percent.
        higher_is_better: None where neither is.
        decimals: how many are shown; where none are, a small number that is not whole still has two digits.
        bounds: least and largest value there can be; None where there is no bound.
        per_image: whether it is the mean over the test images of an outcome that `predictions.npz` holds under its
            key, (N,): true or false (then in percent), or numbers in its unit.
        test: how two systems are compared on the same images. "mcnemar": true-or-false outcomes; "paired_t": numbers;
            "bootstrap": no mean over images, the images are drawn anew and `measure` is taken of each draw. None: only
            over seeds.
        measure: of "bootstrap", the dotted name of a function: a run's `results.predictions.Predictions` to the value.
            One with a method `counted` is drawn anew without copies (see `results.predictions.Counted`).
        short: heading where there is little room; the key unless given.
        shown: whether overviews (end and sweep table, report, dashboard) have it; the record and tables always may.

    Raises:
        ValueError: a declaration that contradicts itself.

    >>> Quantity("acc1", "top-1 accuracy", "%").text(97.8)
    '97.80 %'
    """

    key: str
    name: str
    unit: str = ""
    higher_is_better: bool | None = None
    decimals: int = 2
    bounds: tuple[float | None, float | None] = (None, None)
    per_image: bool = False
    test: str | None = None
    measure: str | None = None
    short: str = ""
    shown: bool = False

    def __post_init__(self) -> None:
        if self.test not in (None, *TESTS):
            raise ValueError(f"{self.key}: test={self.test!r} must be None or one of {', '.join(TESTS)}")
        if self.test in ("mcnemar", "paired_t") and not self.per_image:
            raise ValueError(f"{self.key}: {self.test} compares outcomes of single images, and per_image is false")
        if (self.measure is not None) is not (self.test == "bootstrap"):
            raise ValueError(f"{self.key}: bootstrap, and only it, takes a measure")

    @property
    def title(self) -> str:
        """Name with unit, as a heading."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    @property
    def heading(self) -> str:
        """As a heading where there is little room."""
        return self.short or self.key

    @property
    def mode(self) -> str | None:
        """Which value is the best, in the words of training libraries: "max", "min", or None where neither is."""
        return {True: "max", False: "min", None: None}[self.higher_is_better]

    def number(self, value: float) -> str:
        """A value as it is shown, without its unit."""
        return f"{value:,.{self.places(value)}f}"

    def places(self, value: float) -> int:
        """How many decimals a value is shown with.

        >>> speed = Quantity("img_per_s", "training speed", "images/s", decimals=0)
        >>> [speed.number(value) for value in (1234.5, 9.6, 8.36, 3.0, 0.0432)]
        ['1,234', '9.6', '8.4', '3', '0.043']
        """
        if self.decimals or float(value).is_integer() or not 1e-6 < abs(value) < SMALL:
            return self.decimals
        return 1 - math.floor(math.log10(abs(value)))

    def text(self, value: float) -> str:
        """A value as it is shown, with its unit."""
        return f"{self.number(value)} {self.unit}".rstrip()

    def stored(self) -> dict[str, Any]:
        """As a run record holds it: what differs from the defaults."""
        plain = {field.name: field.default for field in fields(self)}
        return {name: value for name, value in asdict(self).items() if value != plain[name]}


def capital(text: str) -> str:
    """A text with its first letter large, and all others as they are ("MACs")."""
    return text[:1].upper() + text[1:]


def restored(stored: dict[str, Any]) -> Quantity:
    """The quantity of a record's entry.

    >>> one = Quantity("acc1", "top-1 accuracy", "%", bounds=(0, 100))
    >>> restored(one.stored()) == one
    True
    """
    return Quantity(**stored | {"bounds": tuple(stored.get("bounds", (None, None)))})


def key_of(full: str) -> str:
    """The key in a full name.

    >>> key_of("test/pointing_game/layer2"), key_of("epochs")
    ('pointing_game/layer2', 'epochs')
    """
    split, slash, rest = full.partition("/")
    return rest if slash and split in SPLITS else full


def find(full: str, declared: Iterable[Quantity]) -> Quantity | None:
    """The declaration of a full name, or None: that of its key, else of the key without a setting or a place (its end).

    >>> find("test/gini/layer2", [Quantity("gini", "Gini coefficient", "%")]).title
    'Gini coefficient, layer2 (%)'
    >>> find("test/fooled/pgd20@0.5", [Quantity("fooled/pgd", "fooled by PGD", "%")]).title
    'fooled by PGD, 20 at 0.5 (%)'
    """
    known = {quantity.key: quantity for quantity in declared}
    key = key_of(full)
    if key in known:
        return known[key]
    if (match := SETTING.fullmatch(key)) and (meant := find(match["whole"], known.values())):
        count = f", {match['count']}" if match["count"] else ""
        return replace(meant, key=key, name=f"{meant.name}{count} at {match['setting']}", short="")
    if key.endswith(BEST) and key.removesuffix(BEST) in known:
        return _named(known[key.removesuffix(BEST)], key, ", best epoch")
    whole, slash, place = key.rpartition("/")
    if slash and place and whole in known:
        return _named(known[whole], key, f", {place}")
    if full.startswith(("gate/", "start/")) and place in known:  # the place comes first there
        return _named(known[place], key, f", {whole}")
    return None


def _named(quantity: Quantity, key: str, more: str) -> Quantity:
    """A quantity taken at one place or epoch: no outcome of an image is kept of it."""
    kept: dict[str, Any] = {
        "unit": quantity.unit,
        "higher_is_better": quantity.higher_is_better,
        "decimals": quantity.decimals,
    }
    return Quantity(key, f"{quantity.name}{more}", **kept, bounds=quantity.bounds)
