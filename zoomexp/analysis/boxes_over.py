"""Boxes drawn on pictures, with class and score: what a detector says, and beneath it what is there."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

SAID, THERE = (255, 220, 0), (0, 255, 0)
LEAST = 0.3  # surer boxes alone are drawn


def boxes_over(picture: Tensor, boxes: Tensor, words: Sequence[str], colour: tuple[int, int, int] = SAID) -> Tensor:
    """Draw boxes on a picture.

    Args:
        picture: (3, H, W) in [0, 1].
        boxes: (N, 4), x0, y0, x1, y1 in its pixels.
        words: what is written at each; "" for nothing.
        colour: red, green and blue, 0..255.

    Returns:
        (3, H, W) in [0, 1].
    """
    canvas = Image.fromarray((255 * picture).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy())
    draw, edge = ImageDraw.Draw(canvas), max(1, min(canvas.size) // 200)
    font = ImageFont.load_default(max(11, min(canvas.size) // 20))
    for (x0, y0, x1, y1), word in zip(boxes.tolist(), words, strict=True):
        draw.rectangle([x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)], outline=colour, width=edge)
        if word:
            draw.text((x0 + edge + 1, y0 + edge), word, fill=colour, font=font, stroke_width=1, stroke_fill=(0, 0, 0))
    return torch.from_numpy(np.array(canvas)).permute(2, 0, 1) / 255


def drawn_scene(
    picture: Tensor,
    said: tuple[Tensor, ...],
    there: Tensor,
    classes: Sequence[str],
    scale: float,
    least: float = LEAST,
) -> Tensor:
    """The objects of an image in green, and over them the boxes that are said with some certainty in yellow.

    Args:
        picture: (3, H, W) in [0, 1], enlarged by `scale`.
        said: boxes (N, 4) in pixels before that, scores (N,), labels (N,).
        there: boxes (T, 4) of the objects.
        classes: names by label; empty: numbers are written.
        scale: how many pixels of the picture one of the boxes' is.
        least: score from which a box is drawn.
    """
    boxes, scores, labels = (values[said[1] >= least] for values in said)
    names = [classes[label] if classes else str(label) for label in labels.tolist()]
    words = [f"{name} {score:.2f}" for name, score in zip(names, scores.tolist(), strict=True)]
    picture = boxes_over(picture, scale * there, [""] * len(there), THERE)
    return boxes_over(picture, scale * boxes, words)
