"""A convolutional teacher's labels of single places: what token labeling trains patches with.

"All Tokens Matter: Token Labeling for Training Better Vision Transformers" (Jiang et al., NeurIPS 2021, arXiv
2104.10858), after "Re-labeling ImageNet" (Yun et al., CVPR 2021, arXiv 2101.05022): the classifier runs on every place
of the teacher's last map, in the place of their mean, and of each place the highest logits and their classes are kept.

Deviations: the paper's teacher sees images of 576 pixels, one here the images that are trained with.
"""

from typing import Any

import torch
from torch import Tensor, nn

from zoomexp.arguments import integer
from zoomexp.errors import InputError

MOST_CLASSES = 2048  # whose numbers half precision holds exactly


class DenseLabels:
    """A method as those of `relevance`, whose maps are (2, k, S, S): logits and classes of each place, highest first.

    Args:
        top: k, how many classes of a place are kept; all where there are fewer.

    Raises:
        InputError: no such number.
    """

    __name__ = "dense_labels"  # in file names, as functions have it

    def __init__(self, top: int = 5) -> None:
        integer("relevance.method.top", top)
        self.top = top

    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        """Images (B, C, H, W) to (B, 2, k, S, S); `targets` (B,) do not matter.

        Raises:
            InputError: see `place_logits`.
        """
        with torch.no_grad():
            logits = place_logits(model, images)
        highest, classes = logits.topk(min(self.top, logits.shape[3]), dim=3)
        return torch.stack([highest, classes.to(highest.dtype)], 1).permute(0, 1, 4, 2, 3)

    def shape(self, model: nn.Module, data: Any) -> tuple[int, ...]:
        """(2, k, S, S) of the images of a data module.

        Raises:
            InputError: see `place_logits`; a teacher of other classes than the data's, or of too many.
        """
        images = torch.zeros(1, data.channels, data.image_size, data.image_size)
        logits = place_logits(model, images)
        if logits.shape[3] != data.num_classes:
            told = f"the teacher knows {logits.shape[3]} classes, dataset={data.name} has {data.num_classes}"
            raise InputError(f"relevance=dense_labels: {told}; take a teacher of the same data")
        if logits.shape[3] > MOST_CLASSES:
            raise InputError(f"relevance=dense_labels: at most {MOST_CLASSES} classes, got {logits.shape[3]}")
        return (2, min(self.top, logits.shape[3]), *logits.shape[1:3])


def place_logits(model: nn.Module, images: Tensor) -> Tensor:
    """What a teacher's head says of every place of its last map alone: images (B, C, H, W) to (B, S, S, K).

    Where head and pooling are linear, their mean over places is the teacher's own logits.

    Raises:
        InputError: a teacher without a last map of features (B, D, S, S), as transformers are.
    """
    net: Any = model
    if not (hasattr(net, "forward_features") and hasattr(net, "get_classifier")):
        raise InputError(_refused(model, "has no last map"))
    features = net.forward_features(images)
    width = getattr(net, "num_features", getattr(net.get_classifier(), "in_features", None))
    if features.dim() != 4 or features.shape[1] != width or features.shape[2] != features.shape[3]:
        raise InputError(_refused(model, f"ends with features of shape {tuple(features.shape)}"))
    places = features.permute(0, 2, 3, 1)
    flat = places.flatten(0, 2)
    logits = net.forward_head(flat[:, :, None, None]) if hasattr(net, "forward_head") else net.get_classifier()(flat)
    by_place: Tensor = logits.unflatten(0, places.shape[:3])
    return by_place


def _refused(model: nn.Module, why: str) -> str:
    allowed = "a convolutional network that ends with one square map (resnet20, resnet50, convnext, nfnet)"
    return f"relevance=dense_labels: {type(model).__name__} {why}; allowed: {allowed}"
