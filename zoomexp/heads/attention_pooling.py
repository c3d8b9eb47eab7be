"""Bilinear attention pooling: a class from features weighed by each of several attention maps.

    A  = ReLU(BN(conv1x1(F)))                    M maps (h, w) of features F (C, h, w)
    f  = sum_hw A_m F / (h w), m = 1..M          M C numbers
    f  = sign(f) sqrt(|f| + 1e-6), over its norm
    p  = W (100 f)

C M + 2 M + M C K parameters for K classes; the batch norm adds 1e-3 to variances.
"""

from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPSILON = 1e-6
SCALE = 100


class AttentionPooling(nn.Module):
    """Maps of features, and logits of what is pooled by them.

    Args:
        width: C.
        maps: M.
        num_classes: K.
    """

    def __init__(self, width: int, maps: int, num_classes: int) -> None:
        super().__init__()
        self.attend = nn.Conv2d(width, maps, 1, bias=False)
        self.norm = nn.BatchNorm2d(maps, eps=1e-3)
        self.fc = nn.Linear(maps * width, num_classes, bias=False)

    def maps(self, features: Tensor) -> Tensor:
        """Features (B, C, h, w) to maps (B, M, h, w), at least 0."""
        found: Tensor = self.norm(self.attend(features))
        return found.relu()

    def forward(self, pooled: Tensor) -> Tensor:
        """What `pooled` gives, (B, M C), to logits (B, K)."""
        found: Tensor = self.fc(SCALE * pooled.to(self.fc.weight.dtype))
        return found


def pooled(features: Tensor, maps: Tensor) -> Tensor:
    """Features by each map, in one vector of length 1 per image; in single precision at least.

    Args:
        features: (B, C, h, w).
        maps: (B, M, h, w).

    Returns:
        (B, M C), the C numbers of the first map first.
    """
    exact = torch.promote_types(features.dtype, torch.float32)
    device = features.device.type
    with torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext():
        sums = torch.einsum("bmhw,bchw->bmc", maps.to(exact), features.to(exact)).flatten(1)
        means = sums / (features.shape[2] * features.shape[3])
        return F.normalize(means.sign() * (means.abs() + EPSILON).sqrt(), dim=1)
