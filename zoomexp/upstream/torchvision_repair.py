"""Make `import torchvision` work where a CPU-only torch meets a torchvision wheel built for CUDA.

There torchvision's compiled library cannot be loaded (it links against CUDA's), so its operators are never defined,
and `import torchvision`, and with it timm, torchmetrics and Lightning, dies with "operator torchvision::nms does not
exist". zoomexp uses torchvision for transforms and data sets only, which are plain Python: it is enough that the
operators' names exist. They stay without an implementation, so calling one still fails loudly.

The check runs once, at the first `import torchvision`. Where torch has CUDA or ROCm, or the library loads, it does
nothing at all.

Libraries: torchvision 0.21 to 0.28 with torch's CPU builds. Can go when `test_torchvision_and_timm_work_after_it` in
`tests/upstream/test_torchvision_repair.py` passes without it where pip finds such a pair.
"""

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

OPERATORS = ("nms", "qnms")  # what torchvision's Python files look up while they are being imported
SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_declared: list[object] = []  # a torch Library takes its declarations back when it is garbage-collected


class _BeforeTorchvision:
    """An import finder that finds nothing: it runs the repair when torchvision is about to be imported."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name == "torchvision":
            sys.meta_path.remove(self)
            repair()
        return None


def install() -> None:
    """Arrange for `repair` to run at the first import of torchvision; nothing is imported now."""
    installed = any(isinstance(finder, _BeforeTorchvision) for finder in sys.meta_path)
    if "torchvision" not in sys.modules and not installed:
        sys.meta_path.insert(0, _BeforeTorchvision())


def repair() -> bool:
    """Declare torchvision's operators if its compiled library cannot be loaded; True if that was needed."""
    import torch

    if torch.version.cuda or torch.version.hip:
        return False
    spec = importlib.util.find_spec("torchvision")
    if _declared:
        return True
    if spec is None or spec.origin is None or _loads(Path(spec.origin).parent):
        return False
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in OPERATORS:
        library.define(name + SCHEMA)
    _declared.append(library)
    return True


def _loads(folder: Path) -> bool:
    """Whether the compiled library under torchvision's `folder` can be loaded into this torch."""
    import torch

    for compiled in [*folder.glob("_C*.so"), *folder.glob("_C*.pyd")]:
        try:
            torch.ops.load_library(str(compiled))
        except OSError:
            return False
    return True
