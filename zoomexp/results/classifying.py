"""Whether a finished run's network names classes, for commands that take no other."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoomexp.errors import InputError


def check_classifies(facts: Mapping[str, Any], run: str | Path) -> None:
    """Refuse the run of a detector.

    Raises:
        InputError: It says boxes.
    """
    if (facts.get("choices") or {}).get("detector") not in (None, "none"):
        raise InputError(f"run={run}: says boxes, not classes; its boxes of the test images are in predictions.npz")
