"""Declarations: one of each key, none that contradicts itself, and full names find theirs."""

from pathlib import Path

import pytest
import yaml

from zoomexp.metrics import declared as package
from zoomexp.metrics.quantity import Quantity, find, restored
from zoomexp.results.derived import ALONG, DERIVED, declared

CONFIGS = Path(__file__).parents[2] / "configs"


def test_every_key_is_declared_once():
    keys = [quantity.key for quantity in (*package.DECLARED, *ALONG)]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("quantity", [*package.DECLARED, *ALONG, *(one for one, _ in DERIVED.values())])
def test_a_record_gives_back_what_it_was_told(quantity):
    assert restored(quantity.stored()) == quantity
    assert quantity.unit != "%" or quantity.bounds == (0.0, 100.0)


@pytest.mark.parametrize(
    ("full", "title", "mode"),
    [
        ("test/acc1", "top-1 accuracy (%)", "max"),
        ("val/acc1_best", "top-1 accuracy, best epoch (%)", "max"),
        ("test/pointing_game/layer2", "pointing game, map's peak in the box, layer2 (%)", "max"),
        ("test/pointing_game/centre_prior", "pointing game of the image centre (%)", None),
        ("test/acc1_at/0.05", "top-1 accuracy at a threshold, 0.05 (%)", "max"),
        ("gate/layer2/saturated", "share of the map at 1, layer2 (%)", None),
        ("val/ece_lowest_at", "lowest expected calibration error at (% of the epochs)", None),
        ("val/mae_at_30", "MAE after 30 % of the epochs", "min"),
        ("test/error1", "top-1 error (%)", "min"),
        ("cost/macs_m", "MACs (M)", "min"),
        ("epochs", "epochs", None),
    ],
)
def test_a_full_name_finds_its_declaration(full, title, mode):
    found = declared(full)
    assert (found.title, found.mode) == (title, mode)


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "0"), (0.004321, "0.0043"), (0.43, "0.43"), (7, "7"), (7.04, "7.0"), (9.94, "9.9"), (9.96, "10"),
     (1234.4, "1,234"), (-0.52, "-0.52"), (1e-9, "0")],
)  # fmt: skip
def test_small_numbers_keep_two_digits_where_no_decimals_are_declared(value, said):
    assert package.SPEED.number(value) == said
    assert package.ACC1.number(value) == f"{value:,.2f}"


@pytest.mark.parametrize("full", ["test/acc9", "test/acc1/", "acc1_at_x", "gate/layer2/unknown", "test"])
def test_nobody_means_nothing(full):
    assert declared(full) is None


def test_a_quantity_at_a_place_has_no_outcomes_of_its_own():
    whole = Quantity("hits", "hits", "%", True, per_image=True, test="mcnemar")
    at = find("test/hits/layer1", [whole])
    assert (at.unit, at.higher_is_better, at.per_image, at.test) == ("%", True, False, None)


@pytest.mark.parametrize(
    "options", [{"test": "mcnemar"}, {"test": "anova"}, {"test": "bootstrap"}, {"measure": "a.b"}], ids=str
)
def test_a_contradiction_is_refused(options):
    with pytest.raises(ValueError, match="x: "):
        Quantity("x", "x", **options)


def test_whatever_a_config_watches_is_declared():
    watched = {
        node["monitor"]
        for path in CONFIGS.rglob("*.yaml")
        for node in nodes(yaml.safe_load(path.read_text()))
        if "monitor" in node
    }
    assert watched >= {"val/main", "val/loss"}
    assert all(declared(name) for name in watched - {"val/main"})


def nodes(content):
    """Every mapping in a file."""
    if isinstance(content, dict):
        yield content
    for part in content.values() if isinstance(content, dict) else content if isinstance(content, list) else ():
        yield from nodes(part)
