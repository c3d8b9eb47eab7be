"""Ragged: a batch of token sequences of different lengths, the one carrier of tokens between tokenizer, host and head.

Image b's tokens are the rows `offsets[b] : offsets[b + 1]` of `values`; there is no padding, so nothing to mask. The
lengths may stay on the CPU while the values are on an accelerator: then no method waits for the device. Where the
lengths are on the device, `sizes` waits for it once, and every batch made by `with_values` shares the answer; with
`longest` given, the host's encoder and head never ask for `sizes`, so such a batch can be captured in a CUDA graph.
Sequences made by `from_dense` have one length that is known without a look at any tensor.
"""

import copy
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from zoomexp.errors import InputError


@dataclass(frozen=True, eq=False)
class Ragged:
    """Token sequences of a batch, one after the other.

    Args:
        values: (T, D), T the sum of the lengths; further or fewer dimensions after the first are welcome.
        lengths: (B,) int64, at least 1 each.
        longest: no sequence is longer, for lengths on a device that must not be read; None: read them.

    Raises:
        InputError: lengths of another kind, or that do not sum to T. Of lengths on an accelerator the sum is checked
            when `sizes` is first read.

    Example:
        >>> two = Ragged(torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([2, 1]))
        >>> two.owner().tolist(), two.offsets().tolist(), two.padded()[0].squeeze(2).tolist()
        ([0, 0, 1], [0, 2, 3], [[1.0, 2.0], [3.0, 0.0]])
    """

    values: Tensor
    lengths: Tensor
    longest: int | None = None

    def __post_init__(self) -> None:
        if self.lengths.dim() != 1 or self.lengths.dtype != torch.int64 or not len(self.lengths):
            kind = f"{self.lengths.dtype} of shape {tuple(self.lengths.shape)}"
            raise InputError(f"ragged: lengths must be (B,) int64 with B at least 1, got {kind}")
        if self.lengths.device.type == "cpu" and self.longest is None and "sizes" not in self.__dict__:
            _ = self.sizes

    @classmethod
    def from_dense(cls, x: Tensor) -> "Ragged":
        """Sequences of one length: x (B, N, ...)."""
        batch, width = x.shape[:2]
        if not batch or not width:
            raise InputError(f"ragged: sequences must be at least 1, of at least 1 token, got {batch} x {width}")
        made = cls.__new__(cls)
        known = {"values": x.flatten(0, 1), "lengths": torch.full((batch,), width), "longest": None}
        made.__dict__.update(known, sizes=[width] * batch, equal=True)
        return made

    @classmethod
    def from_padded(cls, x: Tensor, lengths: Tensor) -> "Ragged":
        """The first lengths[b] tokens of each row of x (B, N, ...).

        Raises:
            InputError: lengths that are not (B,) int64 in 1..N.
        """
        sizes = lengths.cpu().tolist()
        if lengths.shape != x.shape[:1] or not all(1 <= size <= x.shape[1] for size in sizes):
            raise InputError(f"ragged: lengths must be {len(x)} numbers in 1..{x.shape[1]}, got {sizes}")
        rows = _padded_rows(lengths.to(x.device), sum(sizes), x.shape[1])
        return cls(x.flatten(0, 1).index_select(0, rows), lengths)

    @cached_property
    def sizes(self) -> list[int]:
        """The lengths on the host."""
        sizes, rows = self.lengths.cpu().tolist(), len(self.values)
        if min(sizes) < 1 or sum(sizes) != rows:
            raise InputError(f"ragged: lengths must be at least 1 and sum to the {rows} tokens given, got {sizes}")
        return sizes

    @cached_property
    def equal(self) -> bool:
        """Whether all sequences have the same length, as far as that is known."""
        return self.longest is None and min(self.sizes) == max(self.sizes)

    @property
    def bound(self) -> int:
        """A length that no sequence exceeds: `longest`, or the longest there is."""
        return max(self.sizes) if self.longest is None else self.longest

    def dense(self) -> Tensor:
        """(B, N, ...), a view.

        Raises:
            InputError: sequences of different lengths.
        """
        if not self.equal:
            raise InputError(f"ragged: dense needs sequences of one length, got {self.sizes}")
        dense: Tensor = self.values.unflatten(0, (len(self.sizes), self.sizes[0]))
        return dense

    def padded(self) -> tuple[Tensor, Tensor]:
        """The sequences filled up with zeros to the longest, (B, Nmax, ...), and what is no filling, (B, Nmax) bool."""
        count, width = len(self.sizes), max(self.sizes)
        if self.equal:
            return self.dense(), torch.ones(count, width, dtype=torch.bool, device=self.values.device)
        x = self.values.new_zeros(count * width, *self.values.shape[1:])
        x = x.index_copy(0, self.padded_rows(), self.values)
        keep = torch.arange(width, device=x.device) < self._lengths[:, None]
        return x.unflatten(0, (count, width)), keep

    def padded_rows(self) -> Tensor:
        """(T,) int64: the row of each token in the flattened (B x Nmax)."""
        if self.equal:
            return torch.arange(len(self.values), device=self.values.device)
        return _padded_rows(self._lengths, len(self.values), max(self.sizes))

    def owner(self) -> Tensor:
        """(T,) int64: which image each token is of."""
        return self._owner

    def offsets(self) -> Tensor:
        """(B + 1,) int64: where each image's tokens begin, and T."""
        return self._offsets

    def with_values(self, values: Tensor) -> "Ragged":
        """Other values (T, ...) in sequences of the same lengths.

        Raises:
            InputError: another number of rows.
        """
        if len(values) != len(self.values):
            raise InputError(f"ragged: values must have {len(self.values)} rows as before, got {len(values)}")
        other = copy.copy(self)  # with what is already known of the lengths
        object.__setattr__(other, "values", values)
        return other

    def take(self, index: Tensor, lengths: Tensor) -> "Ragged":
        """The tokens at index (T',) int64, as sequences of the given lengths (B',)."""
        return Ragged(self.values.index_select(0, index), lengths)

    def where(self, stay: Tensor, lengths: Tensor) -> tuple["Ragged", Tensor]:
        """The tokens that stay, and their rows (T',) int64. Waits for the device once, for the lengths.

        Args:
            stay: (T,) bool, at least one token of each image.
            lengths: (B,) int64, how many tokens of each image that are, on the device.
        """
        sizes = lengths.cpu().tolist()
        total = sum(sizes)
        places = torch.where(stay, stay.cumsum(0) - 1, total)  # the others share a place at the end, which is cut off
        every = torch.arange(len(stay), device=stay.device)
        rows = every.new_empty(total + 1).scatter_(0, places, every)[:total]
        taken = self.values.index_select(0, rows)
        made = Ragged(taken, lengths)
        made.__dict__["sizes"] = sizes
        return made, rows

    @cached_property
    def _lengths(self) -> Tensor:
        return placed(self.lengths, self.values.device)

    @cached_property
    def _owner(self) -> Tensor:
        rows, device = len(self.values), self.values.device
        if self.equal:
            return torch.arange(rows, device=device) // self.sizes[0]
        return torch.arange(len(self.lengths), device=device).repeat_interleave(self._lengths, output_size=rows)

    @cached_property
    def _offsets(self) -> Tensor:
        if self.equal:
            return torch.arange(len(self.lengths) + 1, device=self.values.device) * self.sizes[0]
        return torch.nn.functional.pad(self._lengths.cumsum(0), (1, 0))


def placed(counts: Tensor, device: torch.device) -> Tensor:
    """Counts (...) on a device, without waiting for it.

    Equal ones are written there, and others copied from pinned memory: a copy from pageable memory waits, and cannot be
    captured in a CUDA graph.
    """
    if counts.device == device:
        return counts
    values = set(counts.flatten().tolist())
    if len(values) == 1:
        return torch.full(counts.shape, values.pop(), device=device)
    return (counts.pin_memory() if device.type == "cuda" else counts).to(device, non_blocking=True)


def _padded_rows(lengths: Tensor, tokens: int, width: int) -> Tensor:
    """(T,) int64: the row of each token in the flattened (B x width) batch."""
    images = torch.arange(len(lengths), device=lengths.device)
    shifts = images * width - (lengths.cumsum(0) - lengths)
    return torch.arange(tokens, device=lengths.device) + shifts.repeat_interleave(lengths, output_size=tokens)
