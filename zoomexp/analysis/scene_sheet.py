"""What a detector says of images, and the patches that it says it from."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from zoomexp.analysis.boxes_over import LEAST, drawn_scene
from zoomexp.analysis.contact_sheet import Panel, contact_sheet
from zoomexp.analysis.overlay import enlarged
from zoomexp.analysis.patch_map import cells_on, score_map
from zoomexp.analysis.scenes import ViewedScene
from zoomexp.metrics.detection import said_of
from zoomexp.tokens.reduced import ReducedViT
from zoomexp.tokens.yolos import YOLOS

LARGE = 448  # pixels that the short side of a picture is enlarged to, so that small cells can be seen


def scene_sheet(
    net: YOLOS, scenes: Iterable[ViewedScene], classes: Sequence[str], path: Path, least: float = LEAST
) -> Path:
    """Draw each image with its objects and boxes, the scores of a Zoomer, and the patches beneath the boxes.

    Args:
        net: in eval mode.
        scenes: what it is shown, one by one.
        classes: names by label.
        path: where the PNG is written.
        least: score from which a box is drawn.
    """
    rows: list[list[Panel]] = []
    columns = ["objects (green), boxes (yellow)"]
    for scene in scenes:
        size = torch.tensor([scene.image.shape[1:]])
        truth = [scene.boxes[None]] if "truth" in net.inputs else []  # an oracle's
        with torch.no_grad():
            said = tuple(values[0] for values in said_of(net(scene.image[None], size, *truth), size))
        picture = enlarged(scene.pixels, LARGE)
        scale = picture.shape[1] / scene.pixels.shape[1]
        shown, tokens = int((said[1] >= least).sum()), int(net.lengths[0])
        title = f"image {scene.name}: {len(scene.boxes)} there, {shown} said"
        row = [Panel(drawn_scene(picture, said, scene.boxes, classes, scale, least), title)]
        scores, patches = patches_of(net, 0, scene.image.shape[1:])
        if scores is not None:
            span = f"{scores.min():.2f} (blue) to {scores.max():.2f} (red)"
            row.append(Panel(score_map(picture, scores), span))
        if patches is not None:
            beneath = cells_on(picture, *patches)
            drawn = drawn_scene(beneath, said, scene.boxes, classes, scale, least)
            row.append(Panel(drawn, f"{tokens} tokens, {net.boxes} of them for detection"))
        columns = [columns[0], *["scores"] * (scores is not None), *["patches"] * (patches is not None)]
        rows.append(row)
    return contact_sheet(rows, columns, path)


def patches_of(net: YOLOS, image: int, size: Sequence[int]) -> tuple[Tensor | None, tuple[Tensor, Tensor] | None]:
    """What an image of the last batch was cut into.

    Args:
        net: after a forward.
        image: its place in the batch.
        size: its height and width.

    Returns:
        The scores (R, C) that chose, if there were any; and fine (2 r, 2 c) and coarse patches (r, c), bool, or None of
        methods that drop or merge patches between the blocks.
    """
    if isinstance(net.host, ReducedViT):
        return None, None
    for rows, look in net.looks:
        places = range(len(look.scores)) if isinstance(rows, slice) else rows
        if image in places:
            own = list(places).index(image)
            return look.scores[own].cpu(), look.patches(own)
    height, width = (side // of for side, of in zip(size, net.transformer.patch_embed.patch_size, strict=True))
    return None, (torch.zeros(2 * height, 2 * width, dtype=torch.bool), torch.ones(height, width, dtype=torch.bool))
