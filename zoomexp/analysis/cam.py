"""Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391) of any backbone, by the pytorch-grad-cam library.

    weights_c = mean over positions of d logit / d A_c,    CAM = max(0, sum_c weights_c A_c)

A are the features after the backbone's last site, modules inserted there included. A host that reads its class from
tokens before the patches (`num_prefix_tokens`, ViTs) is looked at one step earlier, at the first norm of the last
block: behind that block the patches no longer reach the class. Where the features lie is learnt by `insert`, which
puts an identity there that sees them as (B, C, H, W) in every layout.
"""

import copy
from typing import Any

import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from zoomexp.errors import InputError
from zoomexp.insertion import insert, sites


class ClassActivation:
    """Makes class activation maps of one network.

    Args:
        net: A backbone with `feature_info`; not changed, a copy of it is run in eval mode.
        example: One image (1, C, H, W) of the size that follows.
        at: Where, as in `zoomexp.insertion`: one place; None for the place named above.

    Raises:
        InputError: A place that does not exist or has no features on a grid.
    """

    def __init__(self, net: nn.Module, example: Tensor, at: str | int | None = None) -> None:
        probed: Any = copy.deepcopy(net).requires_grad_(True)
        insert(probed, lambda channels: nn.Identity(), cam_place(net) if at is None else at, example, behind=True)
        self._library = GradCAM(probed, [list(probed.inserted.values())[-1].module])

    def __call__(self, images: Tensor, targets: Tensor | None = None) -> Tensor:
        """Explain a class of each image.

        Args:
            images: (B, C, H, W), normalised as the net wants them.
            targets: (B,) int64; None for each image's predicted class.

        Returns:
            (B, H, W) in [0, 1], each map from its lowest value to its highest.
        """
        wanted = None if targets is None else [ClassifierOutputTarget(int(target)) for target in targets]
        with torch.enable_grad():
            return torch.from_numpy(self._library(images, wanted))


def cam_place(net: nn.Module) -> str | int:
    """Where a host is looked at: the last site's index, or in a ViT the path of the last block's first norm.

    Raises:
        InputError: If the backbone does not list its stages.
    """
    last = sites(net)[-1].path
    if not getattr(net, "num_prefix_tokens", 0):
        return -1
    norm = f"{last}.norm1"
    if norm not in dict(net.named_modules()):
        raise InputError(f"at: {type(net).__name__} has no norm1 in its last block; name a place for Grad-CAM")
    return norm
