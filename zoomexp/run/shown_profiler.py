"""Lightning's profilers, with their report on the screen: its own goes to a logger that this package silences."""

import sys
from typing import Any

from pytorch_lightning.profilers import AdvancedProfiler, Profiler, PyTorchProfiler, SimpleProfiler

from zoomexp.arguments import one_of
from zoomexp.processes import first_process

KINDS = {"simple": SimpleProfiler, "advanced": AdvancedProfiler, "pytorch": PyTorchProfiler}


def shown_profiler(name: str) -> Profiler:
    """Make a profiler that writes its report to the standard error at the end of training, and of the test.

    Args:
        name: "simple", "advanced" or "pytorch".

    Raises:
        InputError: another one.
    """
    one_of("trainer.profiler", name, tuple(KINDS))
    kind: Any = KINDS[name]

    def describe(self: Profiler) -> None:
        """Write the report; afterwards an advanced one has forgotten it."""
        if first_process():
            sys.stderr.write(self.summary().strip() + "\n")
        kind.describe(self)

    attributes: dict[str, Any] = {"describe": describe}
    return type(f"Shown{kind.__name__}", (kind,), attributes)()
