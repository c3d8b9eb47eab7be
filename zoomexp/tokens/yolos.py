"""YOLOS: object detection by a plain vision transformer with detection tokens.

"You Only Look at One Sequence: Rethinking Transformer in Vision through Object Detection" (Fang et al., NeurIPS 2021,
arXiv 2106.00666), and the released code's choices:

    y = norm(blocks([class; det_1 .. det_n; patches] + P))_det        see `detection_tokens` and `layer_positions`
    logits = MLP(y): D -> D -> D -> K + 1;   boxes = sigmoid(MLP'(y)): D -> D -> D -> 4

Images may differ in size: each is embedded at its own, and the encoder gets no padding, so what is said of an image
does not depend on its batch mates. (The released code pads them, does not mask the padding, and gives boxes relative to
the size before it.) Positions are resampled wherever the grid differs, where the released code looks at its area only.
"""

from collections.abc import Callable, Sequence

import torch
from timm.models import VisionTransformer
from torch import Tensor, nn

from zoomexp.arguments import integer
from zoomexp.boxes import Detections
from zoomexp.errors import InputError
from zoomexp.tokens import host
from zoomexp.tokens.detection_tokens import add_detection_tokens
from zoomexp.tokens.layer_positions import Adding, LayerPositions
from zoomexp.tokens.ragged import Ragged
from zoomexp.tokens.reduced import ReducedViT
from zoomexp.tokens.reduction import Reducer

Size = Sequence[int]


class YOLOS(nn.Module):
    """A detector.

    Args:
        vit: the host, a plain vision transformer.
        num_classes: K, at least 1.
        image_size: side of the images, or height and width; only a token method asks for it.
        tokens: builds the network that chooses tokens from the host, with its detection tokens, and `image_size=`;
            None: the host's own patches, all of them.
        boxes: detection tokens, each of which says one box of each image: n.
        start_size: height and width of the images that the first positions are parameters of; None: the host's.
        layer_size: of those that are added after every block; None: there are none (the paper's Type-II).

    After each forward: `lengths` (B,) int64 on the CPU, the tokens of each image, all told.
    Always: `inputs`, what of a batch the forward takes.

    Shape:
        images `(B, C, H, W)`, in the upper left of which an image of `size` (B, 2), height and width, lies (None: it is
        all), to `Detections`: logits `(B, n, K + 1)`, boxes `(B, n, 4)` as shares of the image's own sides.

    Raises:
        InputError: a host that cannot be run, an argument out of its range, or images of no whole patches.
    """

    inputs, gives_boxes = ("image", "size"), True

    def __init__(
        self,
        vit: VisionTransformer,
        *,
        num_classes: int,
        image_size: int | tuple[int, int] = 224,
        tokens: Callable[..., nn.Module] | None = None,
        boxes: int = 100,
        start_size: Size | None = None,
        layer_size: Size | None = None,
    ) -> None:
        super().__init__()
        integer("detector.num_classes", num_classes)
        host.check_host(vit)
        patch = vit.patch_embed.patch_size
        start, layers = (_grid(f, s, patch) for f, s in (("start_size", start_size), ("layer_size", layer_size)))
        add_detection_tokens(vit, boxes, start)
        self.method = None if tokens is None else method_of(tokens(vit, image_size=image_size), layers is not None)
        vit.reset_classifier(0)
        self.vit, self.boxes, width = vit, boxes, vit.embed_dim
        count = vit.num_prefix_tokens
        self.layer_positions = None if layers is None else LayerPositions(len(vit.blocks) - 1, count, layers, width)
        self.class_head, self.box_head = mlp(width, num_classes + 1), mlp(width, 4)

    def forward(self, images: Tensor, size: Tensor | None = None) -> Detections:
        """See the class."""
        tokens, adding = self.tokenize(images, size)
        reducer = adding if self.method is None else self.method()
        tokens = host.encode(self.vit, tokens, reduce=reducer)
        self.lengths = tokens.lengths
        said = self.vit.fc_norm(host.first_tokens(tokens, self.vit.num_prefix_tokens)[:, -self.boxes :])
        return Detections(self.class_head(said).float(), self.box_head(said).float().sigmoid())

    def tokenize(self, images: Tensor, size: Tensor | None = None) -> tuple[Ragged, Adding | None]:
        """The sequences that the host is given, and what adds positions on the way."""
        batches = same_sizes(images, size)
        made = [host.whole(self.vit, images[rows, :, :height, :width]) for (height, width), rows in batches]
        tokens = in_order(made, [rows for _, rows in batches])
        if self.layer_positions is None:
            return tokens, None
        grids = [self._patches(height, width) for (height, width), _ in batches]
        parts = [torch.cat([self.layer_positions.of_prefix(), self.layer_positions.of_grid(grid)], 1) for grid in grids]
        first, places = 0, []
        for part, one in zip(parts, made, strict=True):
            places.append(Ragged.from_dense(first + torch.arange(part.shape[1]).expand(len(one.sizes), -1)))
            first += part.shape[1]
        places = in_order(places, [rows for _, rows in batches]).values.to(images.device)
        return tokens, Adding(torch.cat(parts, 1), places)

    def get_classifier(self) -> tuple[nn.Module, nn.Module]:
        """Both heads."""
        return self.class_head, self.box_head

    def _patches(self, height: int, width: int) -> tuple[int, int]:
        rows, columns = self.vit.patch_embed.patch_size
        return height // rows, width // columns


def mlp(width: int, outputs: int) -> nn.Sequential:
    """Three linear layers with ReLU between: (..., width) -> (..., outputs)."""
    return nn.Sequential(
        nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs)
    )


def method_of(net: nn.Module, layers: bool) -> Callable[[], Reducer]:
    """What makes the reducer of each forward, of a network that drops or merges its tokens on the way.

    Args:
        net: as a token method builds it.
        layers: whether positions are to be added after every block, which need every patch where it was.

    Raises:
        InputError: a network that chooses its tokens otherwise, or a method that learns by itself.
    """
    if not isinstance(net, ReducedViT):
        raise InputError(f"detector=yolos: takes no {type(net).__name__}, which is made to classify")
    if layers:
        raise InputError("detector.layer_size: positions of every block need all tokens; null with a token method")
    if hasattr(net.method, "auxiliary_loss") or hasattr(net.method, "auxiliary_logits"):
        kind = type(net.method).__name__
        raise InputError(f"detector=yolos: takes no {kind}, which learns from a classifier's outputs")
    return net.method


def same_sizes(images: Tensor, size: Tensor | None) -> list[tuple[tuple[int, int], slice | list[int]]]:
    """The images of a batch (B, C, H, W) by their heights and widths: rows of the batch, in order.

    Raises:
        InputError: a size of more than the batch has, or of nothing.
    """
    whole = tuple(images.shape[2:])
    sizes = [whole] * len(images) if size is None else [(int(h), int(w)) for h, w in size.tolist()]
    if len(sizes) != len(images) or not all(0 < h <= whole[0] and 0 < w <= whole[1] for h, w in sizes):
        raise InputError(f"detector: size must be {len(images)} heights and widths within {whole}, got {sizes}")
    found = dict.fromkeys(sizes)
    if len(found) == 1:
        return [(sizes[0], slice(None))]
    return [(one, [row for row, other in enumerate(sizes) if other == one]) for one in found]


def in_order(parts: Sequence[Ragged], rows: Sequence[slice | list[int]]) -> Ragged:
    """The sequences of several batches as one, image by image at their `rows`."""
    if len(parts) == 1:
        return parts[0]
    places = {row: (part, place) for part, own in enumerate(rows) for place, row in enumerate(own)}
    split = [part.values.split(part.sizes) for part in parts]
    ordered = [split[part][place] for part, place in (places[row] for row in sorted(places))]
    return Ragged(torch.cat(ordered), torch.tensor([len(one) for one in ordered]))


def _grid(field: str, size: Size | None, patch: tuple[int, int]) -> tuple[int, int] | None:
    if size is None:
        return None
    whole = len(size) == 2 and all(isinstance(side, int) and side >= of for side, of in zip(size, patch, strict=True))
    if not whole:
        raise InputError(f"detector.{field}={list(size)} must be height and width in pixels, at least a patch each")
    return size[0] // patch[0], size[1] // patch[1]
