"""Softmax attention inside each sequence of a ragged batch.

One fused call where all sequences have one length; torch's kernel for variable lengths where it runs (CUDA, half
precision, no bias, no dropout); otherwise one fused call per sequence over views, which on a CPU is the fastest of all
exact layouts. An additive bias per key, b_j, gives softmax_j(q_i k_j / sqrt(d) + b_j); with b_j = log n_j, token j
counts n times (proportional attention of "Token Merging", Bolya et al. 2023, arXiv 2210.09461).
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from zoomexp.tokens.ragged import Ragged
from zoomexp.tokens.regions import region

try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:
    varlen_attn = None  # type: ignore[assignment]  # before torch 2.10

SHORT = 200  # tokens; above it the two kernels cost the same, and this one keeps an attention matrix per head


def attend(
    q: Tensor, k: Tensor, v: Tensor, layout: Ragged, *, log_sizes: Tensor | None = None, dropout: float = 0.0
) -> Tensor:
    """Attention of every token to those of its own sequence.

    Args:
        q: (T, h, d) queries.
        k: (T, h, d) keys.
        v: (T, h, d) values.
        layout: sequences of T tokens; its values are not used.
        log_sizes: (T,) bias per key, or None.
        dropout: share of the attention matrix that is set to 0, in [0, 1).

    Returns:
        (T, h, d), in v's precision.
    """
    q, k = q.to(v.dtype), k.to(v.dtype)  # under autocast a norm of q and k gives them back in single precision
    bias = None if log_sizes is None else log_sizes.to(v.dtype)
    if layout.equal:
        shape = (len(layout.sizes), layout.sizes[0])
        q, k, v = (x.unflatten(0, shape) for x in (q, k, v))
        return _fused(q, k, v, _rows(bias, shape), dropout).flatten(0, 1)
    if bias is None and not dropout and _takes_varlen(v):
        offsets = layout.offsets().to(torch.int32)
        mixed: Any = varlen_attn(q, k, v, offsets, offsets, layout.bound, layout.bound)
        output: Tensor = mixed  # a second result comes only where it is asked for
        return output
    if layout.longest is not None and v.device.type != "cpu":
        return _masked(q, k, v, layout, bias, dropout)
    return _one_by_one(q, k, v, layout.sizes, bias, dropout)


def first_row(q: Tensor, k: Tensor, layout: Ragged, *, log_sizes: Tensor | None = None) -> Tensor:
    """What the first token of each sequence attends to, (T,), averaged over heads; every sequence sums to 1.

    Arguments as for `attend`.
    """
    if layout.equal:
        return _first_row_of_equal(q, k, log_sizes, len(layout.sizes))
    q, k = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in (q, k))
    owner = layout.owner()
    first = q.index_select(0, layout.offsets().index_select(0, owner))
    scores = (first * k).sum(2) * q.shape[2] ** -0.5  # (T, h)
    if log_sizes is not None:
        scores = scores + log_sizes[:, None]
    per_image = scores.new_zeros(len(layout.sizes), scores.shape[1])
    largest = per_image.scatter_reduce(0, owner[:, None].expand_as(scores), scores.detach(), "amax", include_self=False)
    shares = (scores - largest.index_select(0, owner)).exp()
    mean: Tensor = (shares / per_image.index_add(0, owner, shares).index_select(0, owner)).mean(1)
    return mean


@region
def _first_row_of_equal(q: Tensor, k: Tensor, log_sizes: Tensor | None, batch: int) -> Tensor:
    """`first_row` of sequences of one length."""
    width = len(q) // batch
    first, k = q.unflatten(0, (batch, width))[:, :1], k.unflatten(0, (batch, width))
    first, k = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in (first, k))
    scores = (first * k).sum(3) * q.shape[2] ** -0.5  # (B, N, h)
    if log_sizes is not None:
        scores = scores + log_sizes.reshape(batch, width, 1)
    mean: Tensor = scores.softmax(1).mean(2).flatten()
    return mean


def mean_row(q: Tensor, k: Tensor, layout: Ragged, *, skipped: int = 0, log_sizes: Tensor | None = None) -> Tensor:
    """What the tokens of each sequence but the first `skipped` attend to on average, (T,), averaged over heads as well.

    Arguments as for `attend`; every sequence must be longer than `skipped`.
    """
    q, k = (x.to(torch.promote_types(x.dtype, torch.float32)).transpose(0, 1) for x in (q, k))
    rows, start = [], 0
    for size in layout.sizes:
        own = slice(start, start + size)
        scores = q[:, start + skipped : start + size] @ k[:, own].mT * q.shape[2] ** -0.5
        scores = scores if log_sizes is None else scores + log_sizes[own]
        rows.append(scores.softmax(2).mean((0, 1)))
        start += size
    return torch.cat(rows)


def _takes_varlen(v: Tensor) -> bool:
    half = v.dtype in (torch.float16, torch.bfloat16)
    if varlen_attn is None or not v.is_cuda or not half or v.shape[2] % 8:
        return False
    return torch.cuda.get_device_capability(v.device) >= (8, 0)  # the kernel is for Ampere and later


def _one_by_one(q: Tensor, k: Tensor, v: Tensor, sizes: list[int], bias: Tensor | None, dropout: float) -> Tensor:
    biases = [None] * len(sizes) if bias is None else [_rows(b, (1, len(b))) for b in bias.split(sizes)]
    queries, keys, values = (x[None].split(sizes, 1) for x in (q, k, v))
    parts = zip(queries, keys, values, biases, strict=True)
    with _kernel(v, max(sizes)):
        return torch.cat([_fused(*part, dropout)[0] for part in parts])


def _masked(q: Tensor, k: Tensor, v: Tensor, layout: Ragged, bias: Tensor | None, dropout: float) -> Tensor:
    """Attention of sequences filled up to `layout.bound`, the filling masked: where lengths must not be read."""
    offsets, owner = layout.offsets(), layout.owner()
    place = torch.arange(layout.bound, device=v.device)
    rows = (offsets[:-1, None] + place).clamp(max=len(v) - 1)
    hidden = place >= (offsets[1:] - offsets[:-1])[:, None]
    mask = torch.zeros_like(hidden, dtype=v.dtype) if bias is None else bias[rows]
    mixed = _fused(q[rows], k[rows], v[rows], mask.masked_fill(hidden, -torch.inf)[:, None, None], dropout)
    return mixed[owner, torch.arange(len(v), device=v.device) - offsets[owner]]


def _kernel(v: Tensor, longest: int) -> AbstractContextManager[Any]:
    """Of torch's kernels, the one that trains short sequences in bfloat16 on a CPU twice as fast as its default."""
    backward = v.requires_grad and torch.is_grad_enabled()
    slow = backward and v.device.type == "cpu" and v.dtype == torch.bfloat16 and longest <= SHORT
    return sdpa_kernel(SDPBackend.MATH) if slow else nullcontext()


def _rows(bias: Tensor | None, shape: tuple[int, int]) -> Tensor | None:
    return None if bias is None else bias.reshape(shape)[:, None, None]


def _fused(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, dropout: float) -> Tensor:
    """Attention of (B, N, h, d) within each of B sequences, with a bias that broadcasts to (B, h, N, N)."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout).transpose(1, 2)
