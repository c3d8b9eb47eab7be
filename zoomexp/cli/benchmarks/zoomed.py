"""ZoomViTs for a benchmark: a budget, a threshold with as many tokens on average, and images that differ."""

import copy
from functools import partial
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torch.nn import functional as F

from zoomexp.tokens.cells import cell_scores
from zoomexp.tokens.scorers.folded import fold
from zoomexp.tokens.scorers.zoomer import ZoomerScores
from zoomexp.tokens.threshold import Threshold
from zoomexp.tokens.zoomvit import ZoomViT

SHARE = 16 / 49  # of the cells zoomed: 98 of 197 tokens at 224 pixels
WIDTH = 1.5  # spread of the scores before the sigmoid


def varied_images(count: int, side: int, sets: int, like: Tensor) -> list[Tensor]:
    """Sets of images (count, 3, side, side), smooth ones under noise, each of a contrast of its own."""
    draw, found = torch.Generator().manual_seed(0), []
    for _ in range(sets):
        smooth = torch.randn(count, 3, 7, 7, generator=draw).to(like.device)
        contrast = 2 * torch.rand(count, 1, 1, 1, generator=draw).to(like.device)
        noise = torch.randn(1, 3, side, side, generator=draw).to(like.device)
        images = contrast * F.interpolate(smooth, size=(side, side), mode="bilinear") + 0.5 * noise
        found.append(images.to(like.dtype).contiguous(memory_format=torch.channels_last))
    return found


def zooms(plain: VisionTransformer, sets: list[Tensor]) -> tuple[ZoomViT, ZoomViT]:
    """ZoomViT at eta 0.5 with a budget, and with a threshold, both with the same Zoomer at half size."""
    side, like = sets[0].shape[-1], next(plain.parameters())
    torch.manual_seed(0)
    cells = (side // (2 * plain.patch_embed.patch_size[0])) ** 2
    scorer = partial(ZoomerScores, input_size=side // 2)
    fixed = ZoomViT(copy.deepcopy(plain), scorer=scorer, image_size=side, budget=round(SHARE * cells))
    fixed = fixed.to(like.device, like.dtype).eval().requires_grad_(False)
    scorer_net: Any = fixed.scorer
    fold(scorer_net.zoomer)
    scorer_net.to(memory_format=torch.channels_last)
    spread(fixed, sets[0])
    free = copy.deepcopy(fixed)
    free.budget, free.threshold = None, Threshold(0.5)
    return fixed, free


def spread(net: ZoomViT, images: Tensor) -> None:
    """Let an untrained Zoomer tell images apart: each score's logit gets mean 0 and a spread over these images."""
    seen: list[Tensor] = []
    zoomer: Any = net.scorer.zoomer
    handle = zoomer.scores.register_forward_hook(lambda _, __, output: seen.append(output.float()))
    net.score(images)
    handle.remove()
    scale = WIDTH / seen[0].std(0).clamp(min=1e-6)
    bias = zoomer.scores.bias.float()
    zoomer.scores.weight.copy_((zoomer.scores.weight.float() * scale[:, None]).to(images.dtype))
    zoomer.scores.bias.copy_(((bias - seen[0].mean(0)) * scale).to(images.dtype))


def thresholds(net: ZoomViT, sets: list[Tensor]) -> float:
    """Set the threshold that zooms the same share of cells on average; the mean number of tokens."""
    coarse = torch.cat([cell_scores(net.score(images), net.eta).coarse.flatten() for images in sets])
    net.threshold = Threshold(float(coarse.sort(descending=True).values[round(SHARE * len(coarse))]))
    zoomed = torch.cat([net.select(net.score(images)).lengths for images in sets])
    return net.vit.num_prefix_tokens + float(zoomed.double().mean())
