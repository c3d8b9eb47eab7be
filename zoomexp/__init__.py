"""zoomexp: experiments on plug-in attention and zoom modules in vision backbones.

Importing the package is cheap (no torch). It only prepares for a torchvision build that does not match torch; see
`zoomexp.upstream.torchvision_repair`. In a notebook, import zoomexp before timm or torchvision.
"""

from zoomexp.upstream.torchvision_repair import install

install()

__version__ = "0.1.0"
