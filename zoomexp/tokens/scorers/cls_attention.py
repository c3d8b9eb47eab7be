"""What a trained ViT's class token attends to: the control that asks whether distilling relevance is worth it."""

import torch
from timm.models import VisionTransformer
from torch import Tensor, nn

from zoomexp.arguments import one_of
from zoomexp.relevance.normalisation import min_max
from zoomexp.relevance.rollout import attention
from zoomexp.tokens.scorers.grid import patches_per_side, resized


class ClsAttention(nn.Module):
    """Attention of the readout (class token, or mean of patches) of a frozen ViT, to [0, 1] per image.

    Args:
        vit: a model of its own, frozen here; it takes the images as they are.
        image_size: side of the images.
        patch_size: side of the host's patches. Maps of another grid are resized.
        layers: "last", the last block alone, or "mean" of all.

    Raises:
        InputError: another choice of layers, or a model without attention maps of these images (when it is run).
    """

    def __init__(self, vit: VisionTransformer, *, image_size: int, patch_size: int, layers: str = "last") -> None:
        super().__init__()
        one_of("tokens.scorer.layers", layers, ("last", "mean"))
        self.side, self.layers = patches_per_side(image_size, patch_size), layers
        self.vit = vit.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "ClsAttention":
        """Stays in eval mode."""
        return super().train(False)

    def forward(self, images: Tensor, maps: Tensor | None = None) -> Tensor:
        """Images (B, C, H, H) to scores (B, S, S)."""
        no_class = torch.zeros(len(images), dtype=torch.int64, device=images.device)
        return min_max(resized(attention(self.vit, images, no_class, self.layers), self.side))
