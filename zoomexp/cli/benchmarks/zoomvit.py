"""ZoomViT against the plain transformer: the ragged encoder alone, the whole from image to logits, the tokenizer."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from zoomexp.cli.benchmarks.machine import pick_device, where
from zoomexp.cli.benchmarks.options import DTYPES, check_transformer, some_of
from zoomexp.cli.benchmarks.table import Line, show, timed
from zoomexp.cli.script_options import whole_numbers
from zoomexp.run.build import network
from zoomexp.run.compose import compose_run
from zoomexp.run.explain import building
from zoomexp.tokens import host
from zoomexp.tokens.ragged import Ragged
from zoomexp.tokens.scorers.folded import fold
from zoomexp.tokens.scorers.teacher import TeacherMaps
from zoomexp.tokens.scorers.zoomer import ZoomerScores
from zoomexp.tokens.zoomvit import ZoomViT

OPTIONS = {"batch_size": "16", "encoder_batch": "64", "rounds": "5", "depth": "12", "dtypes": "fp32,bf16"}
ENCODER_BLOCKS = 3  # each costs as much as any other
SHARE = (1.68, 2.90)  # of the Beta distribution of the zoomed share: at eta 0.5 and 224 pixels 104 +- 30 tokens


def run(options: dict[str, str], overrides: list[str]) -> list[dict[str, Any]]:
    """Time the encoder, and ZoomViT at several numbers of zoomed cells, in every dtype."""
    batch_size, encoder_batch, rounds, depth = whole_numbers(options, "batch_size", "encoder_batch", "rounds", "depth")
    dtypes, device, found = some_of(options, "dtypes", list(DTYPES)), pick_device(), []
    with building():
        given = ["backbone=deit_s", "backbone.pretrained=false", f"++backbone.depth={depth}", "attention=none"]
        cfg = compose_run([*given, *overrides]).cfg
        check_transformer(cfg)
        size = cfg.backbone.image_size
        vit = network(cfg, {"num_classes": 1000, "in_chans": 3, "image_size": size})
    for name in dtypes:
        plain = copy.deepcopy(vit).to(device, DTYPES[name]).eval().requires_grad_(False)
        after = f"{name}, {rounds} rounds, {where(device)}"
        title = f"{cfg.backbone.name}, encoder of {ENCODER_BLOCKS} blocks, batch {encoder_batch}"
        found += show(f"{title}, training step, {after}", encoder_lines(plain, encoder_batch, rounds, training=True))
        with torch.no_grad():
            found += show(f"{title}, {after}", encoder_lines(plain, encoder_batch, rounds, training=False))
            title = f"{cfg.backbone.name}, {depth} blocks, {size} pixels, batch {batch_size}"
            found += show(f"{title}, {after}", whole_lines(plain, batch_size, size, rounds))
    return found


def encoder_lines(plain: VisionTransformer, batch_size: int, rounds: int, training: bool) -> list[Line]:
    """Encoders of ragged, padded and equal lengths: the same images."""
    plain = copy.deepcopy(plain).requires_grad_(training)
    plain.blocks = cast(nn.Sequential, plain.blocks[:ENCODER_BLOCKS])
    like = next(plain.parameters())
    full, width = cast(Tensor, plain.pos_embed).shape[1], plain.embed_dim
    cells = (full - 1) // 4
    shares = torch.from_numpy(np.random.default_rng(0).beta(*SHARE, batch_size))
    lengths = 1 + cells + 3 * (cells * shares).round().long()
    dense = Ragged.from_dense(torch.randn(batch_size, full, width).to(like))
    ragged = Ragged(torch.randn(int(lengths.sum()), width).to(like), lengths)
    variants: dict[str, Callable[[], object]] = {
        f"plain, {full} tokens": partial(encoded, plain, dense, training=training),
        f"ragged, {lengths.float().mean():.0f} tokens": partial(encoded, plain, ragged, training=training),
        f"padded to {int(lengths.max())} with a mask": partial(encoded, plain, ragged, "padded", training=training),
    }
    share = sum(cost(int(n), width) for n in lengths) / (batch_size * cost(full, width))
    return timed(variants, [1.0, share, share], batch_size, rounds, like.device)


def encoded(plain: VisionTransformer, tokens: Ragged, mode: str = "ragged", *, training: bool) -> None:
    """Encode, and in training go back to every weight."""
    values = host.encode(plain, tokens, mode=mode).values
    if training:
        plain.zero_grad()
        values.float().square().mean().backward()


def whole_lines(plain: VisionTransformer, batch_size: int, size: int, rounds: int) -> list[Line]:
    """From image to logits: plain, and ZoomViT with its Zoomer inside the timer."""
    like = next(plain.parameters())
    width, patch = plain.embed_dim, plain.patch_embed.patch_size[0]
    images = torch.randn(batch_size, 3, size, size).to(like).contiguous(memory_format=torch.channels_last)
    full, depth = 1 + (size // patch) ** 2, len(plain.blocks)
    base = depth * cost(full, width) + (full - 1) * 3 * patch * patch * width
    variants, shares = {"plain": partial(plain, images)}, [1.0]
    for eta, cells in ((0.5, 8), (0.5, 16), (0.5, 24), (2, 8), (2, 20)):
        coarse = (full - 1) // 4 if eta == 0.5 else full - 1
        encoder = depth * cost(1 + coarse + 3 * cells, width)
        for input_size, zoomer in zoomers(size, patch, like).items():
            net = ZoomViT(copy.deepcopy(plain), scorer=zoomer, image_size=size, eta=eta, budget=cells).to(like).eval()
            name = f"eta {eta}, {cells} of {coarse} cells, {1 + coarse + 3 * cells} tokens, Zoomer at {input_size}"
            variants[name] = partial(net, images)
            patches = embedding(
                coarse, cells if eta == 0.5 else 0, patch, width
            )  # four enlarged ones cost as much as one
            shares.append((encoder + patches + ZOOMER_MACS * (input_size / 224) ** 2) / base)
    maps = torch.rand(batch_size, size // patch, size // patch, device=like.device)
    given = (
        ZoomViT(copy.deepcopy(plain), scorer=TeacherMaps(image_size=size, patch_size=patch), image_size=size, budget=16)
        .to(like)
        .eval()
    )
    variants["tokenizer alone, eta 0.5, 16 cells"] = partial(given.tokenize, images, maps)
    shares.append(embedding((full - 1) // 4, 16, patch, width) / base)
    return timed(variants, shares, batch_size, rounds, like.device)


ZOOMER_MACS = 0.58064e9  # of n = 2 at 224 pixels


def zoomers(size: int, patch: int, like: Tensor) -> dict[int, nn.Module]:
    """Zoomers at full and half resolution, as one runs them: norms folded, channels last."""
    found = {}
    for input_size in (size, size // 2):
        scores = ZoomerScores(image_size=size, patch_size=patch, input_size=input_size)
        fold(scores.zoomer)
        found[input_size] = cast(Any, scores.to(like)).to(memory_format=torch.channels_last)
    return found


def cost(tokens: int, width: int) -> float:
    """MACs of one block."""
    return 12 * tokens * width**2 + 2 * tokens**2 * width


def embedding(coarse: int, cells: int, patch: int, width: int) -> float:
    """MACs of embedding what is kept."""
    return (coarse + 3 * cells) * 3 * patch * patch * width
