"""Which pictures of a network stand on which sheet."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from zoomexp.analysis.cam import ClassActivation
from zoomexp.analysis.contact_sheet import Panel, contact_sheet
from zoomexp.analysis.overlay import contour_over, enlarged, grid_over, heat_over, is_flat, stretched
from zoomexp.analysis.viewed import Viewed
from zoomexp.analysis.warp import warped
from zoomexp.errors import InputError
from zoomexp.tasks.localising import maps_of


@dataclass(frozen=True, eq=False)
class Seen:
    """What a network makes of images.

    Attributes:
        images: B of them.
        probabilities: (B, K).
        targets: (B,), the class that Grad-CAM explains.
        cams: (B, S, S) in [0, 1]; None for a network that Grad-CAM cannot explain.
        maps: (B, 1, h, w) by site.
    """

    images: Sequence[Viewed]
    probabilities: Tensor
    targets: Tensor
    cams: Tensor | None
    maps: dict[str, Tensor]


def seen_by(net: nn.Module, images: Iterable[Viewed], targets: Tensor | None = None) -> Seen:
    """Run a network on images, one by one, so that an image's pictures do not depend on the others.

    Args:
        net: In eval mode.
        images: What it is shown, at least one.
        targets: (B,), the classes that Grad-CAM explains; None: the true ones, the predicted one where none is known.
    """
    shown, logits, maps, cams, explained, activation = [], [], [], [], [], None
    for number, viewed in enumerate(images):
        image = viewed.image[None]
        if number == 0:
            activation = _activation(net, image)
        with torch.no_grad():
            logits.append(net(image))
        maps.append(maps_of(net))
        known = viewed.label if targets is None else int(targets[number])
        explained.append(int(logits[-1].argmax()) if known is None else known)
        if activation is not None:
            cams.append(activation(image, torch.tensor(explained[-1:])))
        shown.append(viewed)
    sites = {site: torch.cat([one[site] for one in maps]) for site in maps[0]}
    explanations = torch.cat(cams) if cams else None
    return Seen(shown, torch.cat(logits).softmax(1), torch.tensor(explained), explanations, sites)


def contact(run: Seen, baseline: Seen | None, classes: Sequence[str], path: Path) -> Path:
    """Image, the baseline's Grad-CAM, the run's Grad-CAM, the run's maps; predictions in green or red.

    Args:
        run: What the run's network makes of the images.
        baseline: The same of the baseline, for the same classes; None without one.
        classes: Names by label.
        path: Where the PNG is written.
    """
    columns = ["image", *(["baseline: Grad-CAM"] if baseline else []), "Grad-CAM" if run.cams is not None else "run"]
    columns += [f"map at {site}" for site in run.maps]
    rows = []
    for number, viewed in enumerate(run.images):
        box = None if viewed.box is None else viewed.box / viewed.pixels.shape[-1]
        truth = "" if viewed.label is None else f"\ntrue: {_name(classes, viewed.label)}"
        row = [Panel(enlarged(viewed.pixels), f"image {viewed.name}{truth}", box=box)]
        row += [_cam_panel(seen, number, classes) for seen in (baseline, run) if seen]
        row += [_map_panel(viewed, heat[number, 0]) for heat in run.maps.values()]
        rows.append(row)
    return contact_sheet(rows, columns, path)


def contours_and_warps(run: Seen, path: Path) -> Path | None:
    """The image with a regular grid; for Grad-CAM and every map its highest 5 % outlined, and the warp.

    Nothing is drawn, and None returned, where there is neither.
    """
    heats = ({} if run.cams is None else {"Grad-CAM": run.cams[:, None]}) | run.maps
    if not heats:
        return None
    columns = ["regular grid", *(f"{name}: {kind}" for name in heats for kind in ("highest 5 %", "warp"))]
    rows = []
    for number, viewed in enumerate(run.images):
        view, whole = enlarged(viewed.pixels), enlarged(viewed.original)
        zoom = whole.shape[1] // viewed.original.shape[1]
        row = [Panel(grid_over(view, 12), f"image {viewed.name}")]
        for heat in (maps[number, 0] for maps in heats.values()):
            outlined = contour_over(whole, viewed.to_original(heat, zoom))
            row += [Panel(outlined), Panel(warped(view, stretched(heat)))]
        rows.append(row)
    return contact_sheet(rows, columns, path)


def _cam_panel(seen: Seen, number: int, classes: Sequence[str]) -> Panel:
    viewed, probabilities = seen.images[number], seen.probabilities[number]
    top = int(probabilities.argmax())
    right = None if viewed.label is None else top == viewed.label
    title = f"predicted: {_name(classes, top)} ({100 * probabilities[top]:.0f} %)"
    if seen.cams is None:
        return Panel(enlarged(viewed.pixels), title, right)
    title += "\nflat: nothing speaks for the class" if is_flat(seen.cams[number]) else ""
    return Panel(heat_over(enlarged(viewed.pixels), seen.cams[number]), title, right)


def _map_panel(viewed: Viewed, heat: Tensor) -> Panel:
    span = f"{heat.min():.2f} (blue) to {heat.max():.2f} (red)"
    return Panel(heat_over(enlarged(viewed.pixels), heat), f"{heat.max():.2f} everywhere" if is_flat(heat) else span)


def _activation(net: nn.Module, image: Tensor) -> ClassActivation | None:
    try:
        return ClassActivation(net, image)
    except InputError:  # features on no grid, or none that are known
        return None


def _name(classes: Sequence[str], label: int) -> str:
    """A class's name to read: without CUB's number and underscores."""
    return classes[label].split(".", 1)[-1].replace("_", " ")
