"""Mean attention distance: how far each head looks ("An Image is Worth 16x16 Words", arXiv 2010.11929, figure 7).

    d_h = mean over images and queries i of  sum_j P_hij |r_i - r_j|

with P the attention among the patches alone (other tokens left out, rows summing to one again) and r the patches'
centres in pixels of the image.
"""

import math
from pathlib import Path

import torch
from torch import Tensor, nn

from zoomexp.attention.dot_product import explicit_weights, heads_last
from zoomexp.attention.multi_head import MultiHead
from zoomexp.attention.self_attention import SelfAttention
from zoomexp.errors import InputError
from zoomexp.relevance.recorder import recorded, undisturbed


def mean_distance(weights: Tensor, grid: tuple[int, ...], image_size: int) -> Tensor:
    """Mean distance of each head.

    Args:
        weights: (B, h, N, N), at least 0, N = rows x cols positions in raster order.
        grid: Rows and columns.
        image_size: Side of the image in pixels.

    Returns:
        (h,) in pixels.

    >>> mean_distance(torch.ones(1, 1, 2, 2), (1, 2), image_size=32)  # 0 and 16 pixels
    tensor([8.])
    """
    rows, cols = grid
    y, x = torch.meshgrid(torch.arange(rows) * image_size / rows, torch.arange(cols) * image_size / cols, indexing="ij")
    places = torch.stack([x.flatten(), y.flatten()], dim=1).to(weights)
    apart = (places[:, None] - places[None]).norm(dim=2)
    return ((weights * apart).sum(3) / weights.sum(3)).mean((0, 2))


def head_distances(net: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Mean distances in a network: of every block of a timm ViT, and of inserted self-attention.

    Args:
        net: As it was afterwards.
        images: (B, C, S, S), normalised as the net wants them.

    Returns:
        Distances (h,) in pixels by the module's path, in order; empty where nothing attends.
    """
    inserted = {name: m for name, m in net.named_modules() if isinstance(m, SelfAttention | MultiHead)}
    blocks = {f"blocks.{i}": block.attn for i, block in enumerate(getattr(net, "blocks", [])) if _has_matrix(block)}
    seen: dict[nn.Module, Tensor] = {}
    hooks = [layer.register_forward_hook(lambda m, _, output: seen.__setitem__(m, output.detach()))
             for module in inserted.values() for layer in (module.query, module.key)]  # fmt: skip
    try:
        with undisturbed(net), torch.no_grad(), recorded(blocks.values()) as recording:
            net(images)
    finally:
        for hook in hooks:
            hook.remove()
    side = images.shape[-1]
    distances = {name: _patch_distance(recording.attention(m), net, side) for name, m in blocks.items()}
    for name, module in inserted.items():
        query, key = seen[module.query], seen[module.key]
        q, k = (heads_last(x.float(), getattr(module, "heads", 1)) for x in (query, key))
        distances[name] = mean_distance(explicit_weights(q, k, module.score_scale), tuple(query.shape[2:]), side)
    return distances


def draw_distances(distances: dict[str, Tensor], path: Path) -> Path:
    """Draw one point per head over the modules, and write it as PNG.

    Raises:
        InputError: If there are none.
    """
    from matplotlib.figure import Figure

    if not distances:
        raise InputError("attention distance: this network has no self-attention")
    figure = Figure(figsize=(max(4.0, 0.5 * len(distances) + 2), 4), layout="constrained")
    axes = figure.subplots()
    for position, heads in enumerate(distances.values()):
        axes.scatter([position] * len(heads), heads.tolist(), s=14, color="tab:blue", alpha=0.7)
    axes.plot([heads.mean().item() for heads in distances.values()], color="tab:orange", label="mean of the heads")
    names = [name.removeprefix("inserted.").removesuffix(".module") for name in distances]
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right")
    highest = max(heads.max().item() for heads in distances.values())
    axes.set(ylabel="mean attention distance in pixels", ylim=(0, 1.15 * highest), title="One point per head")
    axes.legend(frameon=False, loc="lower left")
    figure.savefig(path, dpi=120)
    return path


def _has_matrix(block: nn.Module) -> bool:
    attention = getattr(block, "attn", None)
    return hasattr(attention, "attn_drop") and hasattr(attention, "fused_attn")


def _patch_distance(weights: Tensor, net: nn.Module, side: int) -> Tensor:
    """Distances (h,) of a ViT's attention (B, h, N, N), prefix tokens included in N."""
    prefix = net.num_prefix_tokens
    patches = weights[:, :, prefix:, prefix:]
    rows = math.isqrt(patches.shape[-1])
    return mean_distance(patches, (rows, rows), side)
