"""CAL: counterfactual attention learning, a head that asks what its attention maps change in what it says.

"Counterfactual Attention Learning for Fine-Grained Visual Categorization and Re-identification" (Rao et al., ICCV 2021,
arXiv 2108.08728), as its released code has it; without the counterfactual it is WS-DAN ("See Better Before Looking
Closer", Hu and Qi 2019, arXiv 1901.09891). Features and maps become a vector f and logits p as in `attention_pooling`:

    p'        the logits that A' ~ U(0, 2) in the place of the maps A gives;  effect = p - p'
    views     of each image n more, by maps drawn of its own: crop, drop, or mix as well (see `attended_views`)
    training  CE(p) / 3 + n/3 CE(p of the views) + (1 + n)/3 CE(effect of image and views) + sum ||f - c_y||^2 / B
    test      raw: p;  crop: the mean of p and of p of the crop around the mean map at t = 0.1, widened by 0.05

with the centres c of `centres`, drawn to by f of the image alone; n = 2 in the paper. CAL is tested with the crop; the
raw form, at half the cost, is often called CAL-NC. Mix, with n = 3, is CALMix (arXiv 2605.18700), whose code, otherwise
the same, enlarges maps bicubically.

Deviations: features are what the host's own last layer would pool, of a transformer the patches without the class
token. Draws are torch's. The test is that of the code's own validation, which also scores the effect alone (A' = 1);
its `infer.py` averages eight views of an image and its mirror image. See `centres` for what is mended there.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from zoomexp import protocols
from zoomexp.arguments import boolean, integer, list_of, number, one_of
from zoomexp.backbones.headless import without_classifier
from zoomexp.errors import InputError
from zoomexp.heads.attended_views import VIEWS, attended, boxes_around, cropped, drawn, seen_as
from zoomexp.heads.attention_pooling import AttentionPooling, pooled
from zoomexp.heads.centres import ClassCentres
from zoomexp.heads.features import last_features, width_of
from zoomexp.transient import Transient

LEFT = ("map", "opening")  # what a forward leaves in inserted modules
PLAIN: Any = {"memory_format": torch.contiguous_format}  # else the order of draws would follow that of the features


class Look(NamedTuple):
    """What is made of images: features (B, C, h, w), maps (B, M, h, w), and vectors (B, M C) pooled by them."""

    features: Tensor
    maps: Tensor
    vectors: Tensor

    def attention(self) -> Tensor:
        """The maps as numbers alone, in single precision at least."""
        return self.maps.detach().to(torch.promote_types(self.maps.dtype, torch.float32))


class CAL(Transient, nn.Module):
    """A host under CAL's head.

    Args:
        host: classifies images; its last layer is taken away.
        num_classes: K.
        example: images (1, in_chans, H, W), to learn from what the host gives.
        maps: M.
        counterfactual: whether the effect is trained; without it the training is WS-DAN's.
        views: of crop, drop and mix, each at most once.
        centre_rate: how far a class's centre follows an image, in [0, 1]; at 0 there is nothing to draw to.
        test: "crop" or "raw".
        test_threshold: t of the crop in tests, in [0, 1].
        test_padding: how much wider that is on each side, in shares of the image's, in [0, 1].

    Shape:
        images `(B, in_chans, H, W)` to logits `(B, K)`.

    After each forward: `scores` (B, h, w), the mean map of the images as they are, at least 0; in training
    `auxiliary_logits`, {"augmented": (n/3, (B, n, K)), "effect": ((1 + n)/3, (B, 1 + n, K))}, and `auxiliary_loss`,
    which takes the labels (B,) int64, moves the centres and gives the loss that draws to them. The maps of inserted
    modules are those of the images as they are.

    Raises:
        InputError: an argument outside these ranges, or a host without a map of features.
    """

    replaces_head = one_class = True
    logit_weight = 1 / 3
    auxiliary_loss: Any = None
    auxiliary_logits: dict[str, tuple[float, Tensor]] | None = None

    def __init__(
        self,
        host: nn.Module,
        *,
        num_classes: int,
        example: Tensor,
        maps: int = 32,
        counterfactual: bool = True,
        views: Sequence[str] = ("crop", "drop"),
        centre_rate: float = 0.05,
        test: str = "crop",
        test_threshold: float = 0.1,
        test_padding: float = 0.05,
    ) -> None:
        super().__init__()
        integer("head.maps", maps)
        boolean("head.counterfactual", counterfactual)
        _check_views(views)
        one_of("head.test", test, ("crop", "raw"))
        for field, value in (("centre_rate", centre_rate), ("test_threshold", test_threshold)):
            number(f"head.{field}", value, 0, 1)
        number("head.test_padding", test_padding, 0, 1)
        width = width_of(host, example)
        without_classifier(host)
        self.host, self.num_classes = host, num_classes
        self.head = AttentionPooling(width, maps, num_classes)
        self.centres = ClassCentres(num_classes, maps * width, centre_rate)
        self.counterfactual, self.views = counterfactual, [view for view in VIEWS if view in views]
        self.test, self.test_threshold, self.test_padding = test, test_threshold, test_padding
        self.pretrained_cfg = {"classifier": ("head.fc", "centres")}  # what is of single classes, as timm names it

    @property
    def inserted(self) -> nn.ModuleDict:
        """The host's inserted modules by place."""
        return protocols.inserted(self.host)

    def get_classifier(self) -> nn.Module:
        """What is no part of the host."""
        return self.head

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K)."""
        look = self._look(images)
        logits: Tensor = self.head(look.vectors)
        self.scores = look.attention().mean(1)
        if not self.training:
            self.auxiliary_logits = self.auxiliary_loss = None
            return logits if self.test == "raw" else (logits + self._of_crop(images)) / 2
        if torch.is_grad_enabled():  # a forward beside the one that is trained leaves nothing
            self.auxiliary_logits = self._further(images, look, logits) or None
            self.auxiliary_loss = partial(self.centres, look.vectors)
        return logits

    def effect(self, logits: Tensor, features: Tensor, instead: Tensor) -> Tensor:
        """What the maps that gave logits (B, K) of features (B, C, h, w) change, beside maps (B, M, h, w): (B, K)."""
        found: Tensor = logits - self.head(pooled(features, instead))
        return found

    def _look(self, images: Tensor) -> Look:
        features = last_features(self.host, images)
        maps = self.head.maps(features)
        return Look(features, maps, pooled(features, maps))

    def _look_again(self, images: Tensor) -> Look:
        """At other images; inserted modules are left as they were."""
        modules = protocols.acting(self.host).values()
        before = [(one, name, getattr(one, name)) for one in modules for name in LEFT if hasattr(one, name)]
        look = self._look(images)
        for module, name, value in before:
            setattr(module, name, value)
        return look

    def _of_crop(self, images: Tensor) -> Tensor:
        """Logits (B, K) of the images' attended parts."""
        with torch.no_grad():
            boxes = boxes_around(attended(self.scores, images.shape[2:], self.test_threshold), self.test_padding)
        found: Tensor = self.head(self._look_again(cropped(images, boxes)).vectors)
        return found

    def _further(self, images: Tensor, look: Look, logits: Tensor) -> dict[str, tuple[float, Tensor]]:
        """Logits of the views (B, n, K), and the effects of all, (B, 1 + n, K), with their weights."""
        count, looks, said = len(self.views), [look], [logits]
        found: dict[str, tuple[float, Tensor]] = {}
        if count:
            looks.append(self._look_again(self._seen(images, look.attention())))
            said.append(self.head(looks[1].vectors))
            found["augmented"] = count / 3, _by_image(said[1], len(images))
        if self.counterfactual:
            pairs = zip(said, looks, strict=True)
            effects = [self.effect(own, one.features, 2 * torch.rand_like(one.maps, **PLAIN)) for own, one in pairs]
            found["effect"] = (1 + count) / 3, _by_image(torch.cat(effects), len(images))
        return found

    @torch.no_grad()
    def _seen(self, images: Tensor, maps: Tensor) -> Tensor:
        """The views of images, one kind after the other, by maps (B, M, h, w): (n B, in_chans, H, W)."""
        chosen = drawn(maps, len(self.views)).unbind(1)
        return torch.cat([seen_as(view, images, own) for view, own in zip(self.views, chosen, strict=True)])


def _by_image(rows: Tensor, images: int) -> Tensor:
    """Rows (n B, K), of all B images each time, as (B, n, K)."""
    return rows.view(-1, images, rows.shape[1]).transpose(0, 1)


def _check_views(views: Sequence[str]) -> None:
    allowed = f"{', '.join(VIEWS)}, each at most once"
    list_of("head.views", views, str, allowed)
    if not set(views) <= set(VIEWS) or len(set(views)) < len(views):
        raise InputError(f"head.views={list(views)} must be a list of {allowed}")
