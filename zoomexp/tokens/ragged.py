"""Ragged: a batch of token sequences of different lengths, the one carrier of tokens between tokenizer, host and head.

Image b's tokens are the rows `offsets[b] : offsets[b + 1]` of `values`; there is no padding, so nothing to mask. The
lengths may stay on the CPU while the values are on an accelerator: then no method waits for the device. Where the
lengths are on the device, `sizes` waits for it once, and every batch made by `with_values` shares the answer.
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

    def __post_init__(self) -> None:
        if self.lengths.dim() != 1 or self.lengths.dtype != torch.int64 or not len(self.lengths):
            kind = f"{self.lengths.dtype} of shape {tuple(self.lengths.shape)}"
            raise InputError(f"ragged: lengths must be (B,) int64 with B at least 1, got {kind}")
        if self.lengths.device.type == "cpu":
            _ = self.sizes

    @classmethod
    def from_dense(cls, x: Tensor) -> "Ragged":
        """Sequences of one length: x (B, N, ...)."""
        return cls(x.flatten(0, 1), torch.full((len(x),), x.shape[1]))

    @classmethod
    def from_padded(cls, x: Tensor, lengths: Tensor) -> "Ragged":
        """The first lengths[b] tokens of each row of x (B, N, ...).

        Raises:
            InputError: lengths that are not (B,) int64 in 1..N.
        """
        sizes = lengths.tolist()
        if lengths.shape != x.shape[:1] or not all(1 <= size <= x.shape[1] for size in sizes):
            raise InputError(f"ragged: lengths must be {len(x)} numbers in 1..{x.shape[1]}, got {sizes}")
        rows = _padded_rows(lengths.to(x.device), sum(sizes), x.shape[1])
        return cls(x.flatten(0, 1).index_select(0, rows), lengths)

    @cached_property
    def sizes(self) -> list[int]:
        """The lengths on the host."""
        sizes, rows = self.lengths.tolist(), len(self.values)
        if min(sizes) < 1 or sum(sizes) != rows:
            raise InputError(f"ragged: lengths must be at least 1 and sum to the {rows} tokens given, got {sizes}")
        return sizes

    @property
    def equal(self) -> bool:
        """Whether all sequences have the same length."""
        return min(self.sizes) == max(self.sizes)

    def dense(self) -> Tensor:
        """(B, N, ...), a view.

        Raises:
            InputError: sequences of different lengths.
        """
        if not self.equal:
            raise InputError(f"ragged: dense needs sequences of one length, got {self.sizes}")
        return self.values.unflatten(0, (len(self.sizes), self.sizes[0]))

    def padded(self) -> tuple[Tensor, Tensor]:
        """The sequences filled up with zeros to the longest, (B, Nmax, ...), and what is no filling, (B, Nmax) bool."""
        count, width = len(self.sizes), max(self.sizes)
        if self.equal:
            return self.dense(), torch.ones(count, width, dtype=torch.bool, device=self.values.device)
        rows = _padded_rows(self._lengths, len(self.values), width)
        x = self.values.new_zeros(count * width, *self.values.shape[1:]).index_copy(0, rows, self.values)
        keep = torch.arange(width, device=x.device) < self._lengths[:, None]
        return x.unflatten(0, (count, width)), keep

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

    @cached_property
    def _lengths(self) -> Tensor:
        return self.lengths.to(self.values.device, non_blocking=True)

    @cached_property
    def _owner(self) -> Tensor:
        images = torch.arange(len(self.lengths), device=self.values.device)
        return images.repeat_interleave(self._lengths, output_size=len(self.values))

    @cached_property
    def _offsets(self) -> Tensor:
        return torch.nn.functional.pad(self._lengths.cumsum(0), (1, 0))


def _padded_rows(lengths: Tensor, tokens: int, width: int) -> Tensor:
    """(T,) int64: the row of each token in the flattened (B x width) batch."""
    images = torch.arange(len(lengths), device=lengths.device)
    shifts = images * width - (lengths.cumsum(0) - lengths)
    return torch.arange(tokens, device=lengths.device) + shifts.repeat_interleave(lengths, output_size=tokens)
