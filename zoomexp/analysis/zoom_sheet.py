"""What a Zoomer or a ZoomViT makes of images: its scores, and the patches that follow from them."""

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from zoomexp.analysis.contact_sheet import Panel, contact_sheet
from zoomexp.analysis.overlay import enlarged
from zoomexp.analysis.patch_map import cells_over, four_each, score_map, selected
from zoomexp.analysis.viewed import Viewed
from zoomexp.tokens.zoomer import Zoomer
from zoomexp.tokens.zoomvit import ZoomViT


def zoom_sheet(net: Zoomer | ZoomViT, images: Iterable[Viewed], path: Path) -> Path:
    """Draw image, score map and, of a ZoomViT, patch map.

    Args:
        net: In eval mode.
        images: What it is shown.
        path: Where the PNG is written.
    """
    columns = ["image", "scores", *(["patches"] if isinstance(net, ZoomViT) else [])]
    rows = []
    for viewed in images:
        with torch.no_grad():
            output = net(viewed.image[None])
        scores = (net.scores if isinstance(net, ZoomViT) else output)[0]
        view = enlarged(viewed.pixels)
        title = f"{scores.min():.2f} (blue) to {scores.max():.2f} (red)"
        row = [Panel(view, f"image {viewed.name}"), Panel(score_map(view, scores), title)]
        if isinstance(net, ZoomViT):
            row.append(Panel(cells_over(viewed.pixels, *cells(net)), f"{int(net.lengths[0])} tokens"))
        rows.append(row)
    return contact_sheet(rows, columns, path)


def cells(net: ZoomViT) -> tuple[Tensor, Tensor]:
    """Fine cells (2n, 2n) and coarse cells (n, n), bool, of the first image of the last forward, before pruning."""
    if net.coverage == "paper":
        return selected(net.scores[0], net.threshold(False), net.eta, "paper")
    return four_each(net.zoomed[0]), ~net.zoomed[0]
