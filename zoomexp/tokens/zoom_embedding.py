"""Zoom factor embedding (ZFE): one number per token, added to all its channels, that tells fine from coarse.

"Vision Transformers Need Zoomer", eq. 6, with N_k the number of fine tokens and pos the rank in the sequence, 0 for the
token of highest score (the paper does not say where it counts from; class and register tokens get nothing):

    soft    1 - 1 / (1 + exp(omega (N_k - pos))) = sigmoid(omega (N_k - pos))     0.5 at the first coarse token
    fixed   1 for a fine token, 0 for a coarse one (the released code's segment)
    none    0

omega is not stated; 0.1 here. As omega grows, soft becomes fixed, but for the first coarse token.

A number on all channels is invisible to the host: all that a pre-norm transformer computes from a token, it computes
from its layer norm, which subtracts the mean of the channels, so logits and gradients are those without it, to
rounding. Differences the paper reports between the three cannot come from these equations. For a ZFE that can be seen,
the number can multiply a learned vector instead of ones (`zfe_direction="learned"` of ZoomViT; not in the paper).
"""

import torch
from torch import Tensor

KINDS = ("soft", "fixed", "none")
DIRECTIONS = ("ones", "learned")


def zoom_embedding(kind: str, rank: Tensor, zoomed: Tensor, omega: float) -> Tensor | None:
    """What is added to each token.

    Args:
        kind: "soft", "fixed" or "none".
        rank: (T,) int64, the tokens' ranks in their images.
        zoomed: (T,) int64, N_k of each token's image.
        omega: > 0.

    Returns:
        (T,), or None where nothing is added.

    >>> zoom_embedding("soft", torch.tensor([0, 1, 2]), torch.tensor([1, 1, 1]), omega=1.0)
    tensor([0.7311, 0.5000, 0.2689])
    """
    if kind == "soft":
        return torch.sigmoid(omega * (zoomed - rank))
    return (rank < zoomed).float() if kind == "fixed" else None
