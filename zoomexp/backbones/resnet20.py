"""ResNet-20 for small images.

Paper: "Deep Residual Learning for Image Recognition", He et al. 2015, arXiv 1512.03385, section 4.2 (CIFAR-10), with
option-A shortcuts: where the shape changes, every second pixel is taken and the missing channels are zeros, so a
shortcut has no parameters.

    conv3x3(16) - BN - ReLU -> 3 x block(16) -> 3 x block(32, first stride 2) -> 3 x block(64, first stride 2)
    -> global average pool -> linear

269,722 parameters with RGB input and 10 classes; 269,434 with grey input.

Deviation: the zero channels are put half before and half after the existing ones, as the model of "CNNtention"
(arXiv 2412.11657) has it.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoomexp.arguments import boolean
from zoomexp.backbones.from_timm import from_timm
from zoomexp.errors import InputError
from zoomexp.weights.starting import start_from

WIDTHS = (16, 32, 64)


class BasicBlock(nn.Module):
    """conv - BN - ReLU - conv - BN, plus the shortcut, then ReLU; (B, C, H, W) to (B, width, H/stride, W/stride)."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.act = nn.ReLU(inplace=True)
        self.stride = stride
        self.padding = (width - channels) // 2

    def shortcut(self, x: Tensor) -> Tensor:
        """Option A: subsample, then pad the channels with zeros; the identity where nothing changes."""
        if self.stride == 1 and self.padding == 0:
            return x
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.padding, self.padding))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, width, H / stride, W / stride)."""
        y = self.act(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        out: Tensor = self.act(y + self.shortcut(x))
        return out


class ResNet20(nn.Module):
    """ResNet-20; (B, in_chans, H, W) -> logits (B, num_classes), for any H and W from 4 pixels up.

    `feature_info` lists its three stages in timm's form.
    """

    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential

    def __init__(self, num_classes: int = 10, in_chans: int = 3) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.conv1 = nn.Conv2d(in_chans, WIDTHS[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.act1 = nn.ReLU(inplace=True)
        self.feature_info = []
        channels = WIDTHS[0]
        for i, width in enumerate(WIDTHS, start=1):
            blocks = [BasicBlock(channels if b == 0 else width, width, 2 if b == 0 and i > 1 else 1) for b in range(3)]
            self.add_module(f"layer{i}", nn.Sequential(*blocks))
            self.feature_info.append({"num_chs": width, "reduction": 2 ** (i - 1), "module": f"layer{i}"})
            channels = width
        self.global_pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Patterns of the names of the parameters of each layer, as timm's models have them: stages or blocks."""
        return {"stem": r"^conv1|^bn1", "blocks": r"^layer(\d+)" if coarse else r"^layer(\d+)\.(\d+)"}

    def get_classifier(self) -> nn.Module:
        """The last layer."""
        return self.fc

    def forward_features(self, x: Tensor) -> Tensor:
        """Images (B, in_chans, H, W) to features (B, 64, H / 4, W / 4)."""
        x = self.act1(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return x

    def forward_intermediates(
        self,
        x: Tensor,
        indices: Sequence[int] | None = None,
        output_fmt: Literal["NCHW"] = "NCHW",
        intermediates_only: Literal[True] = True,
    ) -> list[Tensor]:
        """Images (B, in_chans, H, W) to the outputs of stages, as timm's models give them.

        Args:
            x: The images.
            indices: Of the stages, from 0; None: all three.
            output_fmt: Only this one.
            intermediates_only: Only so.
        """
        x = self.act1(self.bn1(self.conv1(x)))
        found = []
        for stage in (self.layer1, self.layer2, self.layer3):
            x = stage(x)
            found.append(x)
        return found if indices is None else [found[place] for place in indices]

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, in_chans, H, W) to logits (B, num_classes)."""
        logits: Tensor = self.fc(torch.flatten(self.global_pool(self.forward_features(x)), 1))
        return logits


def resnet20(
    name: str = "resnet20",
    pretrained: bool = False,
    image_size: int | None = None,
    weights: str | None = None,
    **kwargs: Any,
) -> nn.Module:
    """Build a ResNet-20 with the signature that all backbones share.

    Args:
        name: "resnet20"; any other name is timm's (see `from_timm`), so that `backbone.name=` alone changes the host.
        pretrained: There are no public weights of ResNet-20, so only False is possible.
        image_size: Any; the network is size-free.
        weights: A file whose weights it starts from (see `zoomexp.weights`).
        kwargs: `num_classes`, `in_chans`.

    Raises:
        InputError: If pretrained weights are asked for.
    """
    if name != "resnet20":
        return from_timm(name, pretrained, image_size, weights=weights, **kwargs)
    boolean("backbone.pretrained", pretrained)
    if pretrained:
        raise InputError("backbone.pretrained=true: resnet20 has no pretrained weights; only false is possible")
    net = ResNet20(**kwargs)
    if weights is not None:
        start_from(net, weights)
    return net
