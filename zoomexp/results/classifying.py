"""Whether a finished run's network names classes, or says boxes or pixels, for commands that take one of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoomexp.errors import InputError


def says_boxes(facts: Mapping[str, Any]) -> bool:
    """Whether the run is a detector's."""
    return (facts.get("choices") or {}).get("detector") not in (None, "none")


def says_pixels(facts: Mapping[str, Any]) -> bool:
    """Whether the run is a segmenter's."""
    return (facts.get("choices") or {}).get("decoder") not in (None, "none")


def check_classifies(facts: Mapping[str, Any], run: str | Path) -> None:
    """Refuse the run of a detector or segmenter.

    Raises:
        InputError: It says boxes or pixels.
    """
    if says_pixels(facts):
        raise InputError(f"run={run}: says the classes of pixels, not of images; scripts/predict.py takes it")
    if says_boxes(facts):
        raise InputError(
            f"run={run}: says boxes, not classes; scripts/predict.py takes it, and scripts/export.py format=coco"
        )
