"""zoomexp: experiments on plug-in attention and zoom modules in vision backbones.

Importing the package is cheap (no torch). It only prepares for a torchvision build that does not match torch (see
`zoomexp.upstream.torchvision_repair`) and tells OmegaConf what configs may ask (`zoomexp.weights_data`). In a notebook,
import zoomexp before timm or torchvision.
"""

from zoomexp import weights_data
from zoomexp.upstream import torchvision_repair

torchvision_repair.install()
weights_data.install()

__version__ = "0.2.0"
