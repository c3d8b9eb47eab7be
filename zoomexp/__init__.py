"""zoomexp: experiments on plug-in attention and zoom modules in vision backbones.

Importing the package is cheap (no torch). It only prepares for a torchvision build that does not match torch (see
`zoomexp.upstream.torchvision_repair`) and tells OmegaConf what configs may ask (`zoomexp.weights_data`). In a notebook,
import zoomexp before timm or torchvision.

    predictor = zoomexp.load(FOLDER)  # the folder of a finished run
    predictor("bird.jpg").label
"""

from typing import Any

from zoomexp import weights_data
from zoomexp.upstream import torchvision_repair

torchvision_repair.install()
weights_data.install()

__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    """`zoomexp.load`, which imports torch, when it is first asked for."""
    if name == "load":
        from zoomexp.prediction.loading import load

        return load
    raise AttributeError(f"module 'zoomexp' has no attribute {name!r}")
