"""What the runs found, in sentences for somebody who sees the page for the first time."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from zoomexp.health.findings import told
from zoomexp.metrics.declared import ACC1
from zoomexp.results.comparison import compare
from zoomexp.results.filling import RunResult
from zoomexp.results.recorded_quantities import main_of, meaning
from zoomexp.results.report.curves import Panel
from zoomexp.results.report.groups import SeedGroup
from zoomexp.results.report.runs import RecordedRun
from zoomexp.results.statistics import p_text

POINTING = "test/pointing_game"


def newest(runs: Sequence[RecordedRun]) -> RecordedRun | None:
    """The run that was finished last; None if none is."""
    finished = [run for run in runs if run.state == "finished"]
    return max(finished, key=lambda run: (run.folder / "metrics.json").stat().st_mtime, default=None)


def story(run: RecordedRun) -> list[str]:
    """What a finished run did and what came out, a sentence each."""
    return [_what(run.facts), _how_well(run.facts), *_where_it_looks(run.facts), *_health(run.facts)]


def _what(facts: Mapping[str, Any]) -> str:
    choices, metrics, cost = facts["choices"], facts["metrics"], facts["cost"]
    network = f"The network {choices.get('backbone')}"
    if (module := choices.get("attention") or "none") != "none":
        places = ", ".join(cost.get("insertion_sites") or ())
        network += f" with the attention module {module}" + (f" after {places}" if places else "")
    images = (facts.get("data") or {}).get("images") or {}
    material = f"{images['train']:,} images of " if images.get("train") else ""
    epochs = metrics.get("epochs")
    if not cost.get("train_s") or not epochs:
        return f"{network} was tested on {choices.get('dataset')}, without a training of its own."
    minutes = cost["train_s"] / 60
    time = f"{minutes:.1f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"
    return f"{network} saw {material}{choices.get('dataset')} {epochs:g} times, which took {time}."


def _how_well(facts: Mapping[str, Any]) -> str:
    key = main_of(facts)
    value, quantity = facts["metrics"].get(f"test/{key}"), meaning(f"test/{key}", [facts])
    if value is None:
        return "Its record holds no score on test images."
    images = (facts.get("data") or {}).get("images") or {}
    count = f"{images['test']:,} test images" if images.get("test") else "the test images"
    if key != ACC1.key:
        return f"On {count}, which it had not seen before, it reaches {quantity.text(value)} ({quantity.name})."
    classes = (facts.get("shape") or {}).get("num_classes")
    guess = f"; guessing among {classes} classes would give {quantity.text(100 / classes)}" if classes else ""
    return f"Of {count}, which it had not seen before, it names {quantity.text(value)} correctly{guess}."


def _where_it_looks(facts: Mapping[str, Any]) -> list[str]:
    """Whether the module's map finds the object, beside what needs no network."""
    metrics = facts["metrics"]
    if POINTING not in metrics:
        return []
    own = metrics[POINTING]
    others = {"the image's centre": metrics.get(f"{POINTING}/centre_prior"),
              "the peak of a random map": metrics.get(f"{POINTING}/random_prior")}  # fmt: skip
    known = {name: value for name, value in others.items() if value is not None}
    beside = " and ".join(f"{name} in {value:.1f} %" for name, value in known.items())
    said = f"The module's map has its peak inside the object's box in {own:.1f} % of them"
    if not known:
        return [f"{said}."]
    verdict = "so the module looks at the object" if own > max(known.values()) else "so the map does not find it"
    return [f"{said}, {beside}: {verdict}."]


def _health(facts: Mapping[str, Any]) -> list[str]:
    return [f"Beware: {found}."] if (found := told(facts)) else []


def comparisons(panels: Sequence[Panel]) -> list[str]:
    """For each panel the best system, and how it stands to the same network without a module, a sentence each."""
    return [_compared(panel) for panel in panels if panel.main.higher_is_better is not None]


def _compared(panel: Panel) -> str:
    labels = dict(zip(panel.groups, panel.labels, strict=True))
    sign = 1 if panel.main.higher_is_better else -1
    best = max(panel.groups, key=lambda group: sign * group.measured(group.main).mean)
    said = f"{panel.name}: of {len(panel.groups)} systems {labels[best]} is best with {_mean(panel, best)}"
    if _is_plain(best):
        return f"{said}; it has no module."
    plain = [group for group in panel.groups if _is_plain(group) and _same_host(group, best)]
    if not plain:
        return f"{said}."
    nearest = min(plain, key=lambda group: _apart(group, best))
    return f"{said}; {labels[nearest]} without a module has {_mean(panel, nearest)}{_tested(panel, best, nearest)}."


def _is_plain(group: SeedGroup) -> bool:
    choices = group.choices
    return choices.get("attention") in (None, "none") and choices.get("tokens") in (None, "none", "uniform")


def _same_host(one: SeedGroup, other: SeedGroup) -> bool:
    return one.choices.get("backbone") == other.choices.get("backbone")


def _apart(one: SeedGroup, other: SeedGroup) -> int:
    """In how many options two groups differ."""
    return sum(one.config.get(key) != other.config.get(key) for key in {*one.config, *other.config})


def _mean(panel: Panel, group: SeedGroup) -> str:
    interval = group.measured(group.main)
    if interval.half_width is None:
        return f"{panel.main.text(interval.mean)} (one seed)"
    spread = interval.text(panel.main.number, panel.main.bounds)
    return f"{f'{spread} {panel.main.unit}'.rstrip()} ({interval.n} seeds)"


def _tested(panel: Panel, one: SeedGroup, other: SeedGroup) -> str:
    sides = [[cast(RunResult, run.result).predictions for run in group.runs] for group in (one, other)]
    test = compare(one.main, panel.main, *sides)
    if test is None:
        return ""
    unit = "points" if panel.main.unit == "%" else panel.main.unit
    between = f", 95 % {test.low:+.2f} to {test.high:+.2f}" if test.low is not None else ""
    return f", a difference of {test.difference:+.2f} {unit} on the same images ({p_text(test.p_value)}{between})"
