"""YOLOS: object detection by a plain vision transformer with detection tokens.

"You Only Look at One Sequence: Rethinking Transformer in Vision through Object Detection" (Fang et al., NeurIPS 2021,
arXiv 2106.00666), and the released code's choices:

    y = norm(blocks([class; det_1 .. det_n; patches] + P))_det        see `detection_tokens` and `layer_positions`
    logits = MLP(y): D -> D -> D -> K + 1;   boxes = sigmoid(MLP'(y)): D -> D -> D -> 4

Images may differ in size: each is embedded at its own, and the encoder gets no padding, so what is said of an image
does not depend on its batch mates, unless a scorer draws at random (`Random`, `Shuffled`). (The released code pads
them, does not mask the padding, and gives boxes relative to the size before it.) Positions are resampled wherever the
grid differs, where the released code looks at its area only.
"""

import math
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import torch
from timm.models import VisionTransformer
from torch import Tensor, nn

from zoomexp.arguments import boolean, integer
from zoomexp.boxes import Detections
from zoomexp.errors import InputError
from zoomexp.protocols import needs_boxes
from zoomexp.tokens import host
from zoomexp.tokens.cells import fine_raster
from zoomexp.tokens.detection_tokens import add_detection_tokens
from zoomexp.tokens.layer_positions import Adding, LayerPositions
from zoomexp.tokens.ragged import Ragged
from zoomexp.tokens.reduced import Recorded, ReducedViT
from zoomexp.tokens.sizes import Rows, in_order, joined, parted, same_sizes, values_in_order
from zoomexp.tokens.zoomed_scenes import Look, check_any_size, zoomed_tokens
from zoomexp.tokens.zoomvit import ZoomViT

Size = Sequence[int]


class YOLOS(nn.Module):
    """A detector.

    Args:
        vit: the host, a plain vision transformer.
        num_classes: K, at least 1.
        image_size: not used: images may have any size.
        tokens: builds the network that chooses tokens from the host, with its detection tokens, and `image_size=`, the
            side that the host was made for and a scorer looks at; None: the host's own patches, all of them.
        boxes: detection tokens, each of which says one box of each image: n.
        detached: leave these tokens as they were drawn, without training (the paper's control); their positions learn.
        start_size: height and width of the images that the first positions are parameters of; None: the host's.
        layer_size: of those that are added after every block; None: there are none (the paper's Type-II).

    After each forward: `lengths` (B,) int64 on the CPU, the tokens of each image, all told, after the last block;
    with a method that drops or merges tokens `tokens_per_block`, those that every block's attention sees, (B,) each;
    with ZoomViT's tokens `looks`, of each size of images the rows of the batch and what was chosen (else empty).
    Always: `inputs`, what of a batch the forward takes; `host`, the transformer or the token method around it;
    `multiple`, of the images' sides, in pixels.

    Shape:
        images `(B, C, H, W)`, in the upper left of which an image of `size` (B, 2), height and width, lies (None: it is
        all), to `Detections`: logits `(B, n, K + 1)`, boxes `(B, n, 4)` as shares of the image's own sides.

    Raises:
        InputError: a host or a token method that cannot be run, an argument out of its range, or images that are not of
            whole patches.
    """

    gives_boxes = True

    def __init__(
        self,
        vit: VisionTransformer,
        *,
        num_classes: int,
        image_size: int | tuple[int, int] | None = None,
        tokens: Callable[..., nn.Module] | None = None,
        boxes: int = 100,
        detached: bool = False,
        start_size: Size | None = None,
        layer_size: Size | None = None,
    ) -> None:
        super().__init__()
        integer("detector.num_classes", num_classes)
        host.check_host(vit)
        patch, side = vit.patch_embed.patch_size, vit.patch_embed.img_size[0]
        start, layers = (_grid(f, s, patch) for f, s in (("start_size", start_size), ("layer_size", layer_size)))
        boolean("detector.detached", detached)
        add_detection_tokens(vit, boxes, start, detached)
        self.host = vit if tokens is None else checked(tokens(vit, image_size=side), layers is not None)
        self.inputs = ("image", "size", "truth") if needs_boxes(self.scorer) else ("image", "size")
        vit.reset_classifier(0)
        self.boxes, width, count = boxes, vit.embed_dim, vit.num_prefix_tokens
        self.layer_positions = None if layers is None else LayerPositions(len(vit.blocks) - 1, count, layers, width)
        self.class_head, self.box_head = mlp(width, num_classes + 1), mlp(width, 4)
        self.looks: list[tuple[Rows, Look]] = []

    def forward(self, images: Tensor, size: Tensor | None = None, truth: Tensor | None = None) -> Detections:
        """See the class; `truth`, the objects' boxes (B, M, 4) in pixels, only for a scorer that reads them."""
        batches = same_sizes(images, size)
        encoded = in_order(self.encoded(images, batches, truth), [rows for _, rows in batches])
        self.lengths = encoded.lengths
        first = host.first_tokens(encoded, self.transformer.num_prefix_tokens)
        said = self.transformer.fc_norm(first[:, -self.boxes :])
        return Detections(self.class_head(said).float(), self.box_head(said).float().sigmoid())

    @property
    def transformer(self) -> VisionTransformer:
        """The plain vision transformer."""
        inner: Any = self.host
        vit: VisionTransformer = inner if isinstance(inner, VisionTransformer) else inner.vit
        return vit

    @property
    def scorer(self) -> nn.Module | None:
        """What chooses ZoomViT's tokens; None with others."""
        return self.host.scorer if isinstance(self.host, ZoomViT) else None

    @property
    def multiple(self) -> int:
        """What the sides of images must be multiples of, in pixels: the patch, or two of them at eta 0.5."""
        patch = math.lcm(*self.transformer.patch_embed.patch_size)
        return 2 * patch if isinstance(self.host, ZoomViT) and self.host.eta == 0.5 else patch

    def encoded(
        self, images: Tensor, batches: Sequence[tuple[tuple[int, int], Rows]], truth: Tensor | None = None
    ) -> list[Ragged]:
        """The tokens after the last norm, of the images of each size."""
        cut = [images[rows, :, :height, :width] for (height, width), rows in batches]
        if isinstance(self.host, ReducedViT):
            return self._reduced(self.host, cut, [rows for _, rows in batches])
        parts = self.tokenized(cut, [rows for _, rows in batches], truth)
        tokens, adding = joined([tokens for tokens, _ in parts]), self._adding([rows for _, rows in parts], cut)
        return parted(host.encode(self.transformer, tokens, reduce=adding), [len(one) for one in cut])

    def _reduced(self, net: ReducedViT, cut: Sequence[Tensor], rows: Sequence[Rows]) -> list[Ragged]:
        """The same by a method that drops or merges tokens, which knows sequences of one length only."""
        reducers = [Recorded(net.method()) for _ in cut]
        encoded = [host.encode(net.vit, host.whole(net.vit, images), reduce=reducer)
                   for images, reducer in zip(cut, reducers, strict=True)]  # fmt: skip
        blocks = zip(*(reducer.lengths for reducer in reducers), strict=True)
        self.tokens_per_block = [values_in_order(lengths, rows) for lengths in blocks]
        return encoded

    def tokenized(
        self, cut: Sequence[Tensor], rows: Sequence[Rows] = (slice(None),), truth: Tensor | None = None
    ) -> list[tuple[Ragged, Ragged]]:
        """Of each size's images the tokens, and each token's row in the table of prefix and patches (or candidates).

        `rows` are those of the batch, which `looks` names; `truth` as in `forward`.
        """
        if not isinstance(self.host, ZoomViT):
            whole = [host.whole(self.transformer, images) for images in cut]
            return [(one, one.with_values(torch.arange(len(one.values), device=one.values.device) % one.sizes[0]))
                    for one in whole]  # fmt: skip
        alpha = self.host.threshold(self.training) if self.host.budget is None else None  # one for the whole batch
        own = [None if truth is None else truth[places] for places in rows]
        made = [zoomed_tokens(self.host, images, alpha, boxes) for images, boxes in zip(cut, own, strict=True)]
        self.looks = list(zip(rows, (look for *_, look in made), strict=True))
        return [(tokens, places) for tokens, places, _ in made]

    def get_classifier(self) -> tuple[nn.Module, nn.Module]:
        """Both heads."""
        return self.class_head, self.box_head

    def _adding(self, rows: Sequence[Ragged], cut: Sequence[Tensor]) -> Adding | None:
        """What adds positions after every block; None where there are none."""
        if self.layer_positions is None:
            return None
        tables = [self._layer_table(self.layer_positions, images) for images in cut]
        first = [0, *accumulate(table.shape[1] for table in tables)]
        values = [places.values + start for places, start in zip(rows, first, strict=False)]
        return Adding(torch.cat(tables, 1), torch.cat(values))

    def _layer_table(self, own: LayerPositions, images: Tensor) -> Tensor:
        """Positions after every block for images of one size: (L - 1, prefix and patches, or candidates, D)."""
        patch = self.transformer.patch_embed.patch_size
        if isinstance(self.host, ZoomViT):
            rows, columns = self.host.cells_of(images)
            raster = fine_raster((rows, columns)).to(images.device)
            grids = [own.of_grid((2 * rows, 2 * columns))[:, raster], own.of_grid((rows, columns))]
        else:
            grids = [own.of_grid((images.shape[2] // patch[0], images.shape[3] // patch[1]))]
        return torch.cat([own.of_prefix(), *grids], 1)


def mlp(width: int, outputs: int) -> nn.Sequential:
    """Three linear layers with ReLU between: (..., width) -> (..., outputs)."""
    return nn.Sequential(
        nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs)
    )


def checked(net: nn.Module, layers: bool) -> nn.Module:
    """A token method, if it can choose the tokens of a detector.

    Args:
        net: as it builds it from a host.
        layers: whether positions are to be added after every block, which need to know every token's place.

    Raises:
        InputError: a network of another kind, or a method that learns by itself.
    """
    if isinstance(net, ZoomViT):
        check_any_size(net)
        return net
    if not isinstance(net, ReducedViT):
        raise InputError(f"detector=yolos: takes no {type(net).__name__}, which is made to classify")
    if layers:
        raise InputError("detector.layer_size: positions of every block need all tokens; null with this token method")
    if hasattr(net.method, "auxiliary_loss") or hasattr(net.method, "auxiliary_logits"):
        kind = type(net.method).__name__
        raise InputError(f"detector=yolos: takes no {kind}, which learns from a classifier's outputs")
    return net


def _grid(field: str, size: Size | None, patch: tuple[int, int]) -> tuple[int, int] | None:
    if size is None:
        return None
    whole = len(size) == 2 and all(isinstance(side, int) and side >= of for side, of in zip(size, patch, strict=True))
    if not whole:
        raise InputError(f"detector.{field}={list(size)} must be height and width in pixels, at least a patch each")
    return size[0] // patch[0], size[1] // patch[1]
