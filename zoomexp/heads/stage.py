"""A linear layer on the pooled features of one stage: what a network holds half way.

    logits = W mean(x) + b     x: what the place gives, behind a module that stands there; of a transformer the patches

With task=probe the layer is fitted to the features of a finished run, and nothing else is trained: a linear probe as in
"Understanding intermediate layers using linear classifier probes" (Alain and Bengio 2016, arXiv 1610.01644). What
comes after the place is computed and not used, so costs are those of the whole host.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn

from zoomexp import protocols
from zoomexp.backbones.headless import unread, without_classifier
from zoomexp.errors import InputError
from zoomexp.insertion import insert
from zoomexp.transient import Transient


class Pooled(Transient, nn.Module):
    """Leaves features (B, C, H, W) as they are, and their mean over the positions, (B, C), in `pooled`."""

    zoom_factor = 1
    transient = ("pooled",)
    pooled: Tensor | None = None

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, C, H, W)."""
        self.pooled = x.mean((2, 3))
        return x


class StageHead(nn.Module):
    """A host whose classes are told from one place of it.

    Args:
        host: classifies images; its last layer is taken away, and what comes after the place is not trained.
        num_classes: K.
        example: images (1, in_chans, H, W), to learn from what the place gives.
        at: the place, as `insertion.at` names it: "stage2", an index, a module's path.

    Shape:
        images `(B, in_chans, H, W)` to logits `(B, K)`. `features_at` is the path of the place.

    Raises:
        InputError: no such place, several, or features that are no map.
    """

    replaces_head = True

    def __init__(self, host: nn.Module, *, num_classes: int, example: Tensor, at: str | int = "stage2") -> None:
        super().__init__()
        before = set(protocols.inserted(host))
        places = insert(host, Pooled, at, example, behind=True)
        new = [name for name in protocols.inserted(host) if name not in before]
        if len(new) != 1:
            raise InputError(f"head.at={at}: must name one place, got {', '.join(places)}")
        without_classifier(host)
        (self.features_at,) = places
        self.tap = protocols.inserted(host).pop(new[0])  # it goes on watching, and is no module of the host's
        self.host, self.num_classes = host, num_classes
        self.fc = nn.Linear(self._watched.channels, num_classes)
        self.pretrained_cfg = {"classifier": "fc"}
        training = host.training
        host.eval()  # batch statistics and random numbers stay untouched
        with torch.enable_grad():
            unread(host, self._features(example)).requires_grad_(False)
        host.train(training)

    @property
    def _watched(self) -> Pooled:
        return cast(Pooled, cast(Any, self.tap).module)

    @property
    def inserted(self) -> nn.ModuleDict:
        """The host's inserted modules by place."""
        return protocols.inserted(self.host)

    def get_classifier(self) -> nn.Module:
        """The linear layer."""
        return self.fc

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K)."""
        logits: Tensor = self.fc(self._features(images))
        return logits

    def _features(self, images: Tensor) -> Tensor:
        """The pooled features (B, C) of the place."""
        self.host(images)
        return cast(Tensor, self._watched.pooled)
