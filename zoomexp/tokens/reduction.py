"""What a method that drops or merges tokens inside a vision transformer is given, and what it may do.

`host.encode(model, tokens, reduce=reducer)` calls, in every block i:

    tokens = reducer.before(i, tokens)              first thing in the block
    attention, with reducer.log_sizes as bias, and its residual
    tokens = reducer.between(i, tokens, context)    after attention, before the MLP
    MLP and its residual

    tokens = reducer.finish(tokens)                 if a reducer has it: last, before the host's final norm

A token's output of attention does not depend on the other queries, so dropping rows in `between` also serves methods
that cut the attention matrix itself (ATS). `log_sizes` serves proportional attention (ToMe), and a log of keep
probabilities (DynamicViT's training): it may carry gradients, and -inf hides a key. The reducer alone keeps it in step
with the tokens it changes. A reducer may keep state, but of one `encode` only: make a new one for each call. With
gradient checkpointing the reducer runs once; only attention and MLP are run again.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from zoomexp.errors import InputError
from zoomexp.tokens.ragged import Ragged
from zoomexp.tokens.ragged_attention import first_row, mean_row
from zoomexp.tokens.regions import region


@dataclass(frozen=True, eq=False)
class Context:
    """The attention that has just run, for `Reducer.between`; each property is computed when it is asked for.

    All are in the autograd graph. `q`, `k`, `v`: (T, h, d); k after the host's key norm.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    layout: Ragged
    log_sizes: Tensor | None
    has_class_token: bool

    @cached_property
    def keys(self) -> Tensor:
        """(T, d): keys, averaged over heads."""
        return _mean_over_heads(self.k)

    @cached_property
    def class_attention(self) -> Tensor:
        """(T,): what the class token attends to, averaged over heads; every image's part sums to 1.

        Raises:
            InputError: a host without a class token.
        """
        if not self.has_class_token:
            raise InputError("reduce: the attention of the class token was asked for; the host has no class token")
        return first_row(self.q, self.k, self.layout, log_sizes=self.log_sizes)

    def importance(self, prefix: int) -> Tensor:
        """(T,): `class_attention`; on a host without a class token what the patches attend to on average.

        Args:
            prefix: tokens in front of the patches, whose own attention does not count.
        """
        if self.has_class_token:
            return self.class_attention
        return mean_row(self.q, self.k, self.layout, skipped=prefix, log_sizes=self.log_sizes)

    @cached_property
    def values_norm(self) -> Tensor:
        """(T,): length of each token's value vector over all heads."""
        length: Tensor = torch.linalg.vector_norm(self.v.float(), dim=(1, 2))
        return length


@region
def _mean_over_heads(k: Tensor) -> Tensor:
    return k.mean(1)


class Reducer(Protocol):
    """A token-reduction method; the calls are described above.

    Attributes:
        log_sizes: (T,) additive attention bias of the tokens that `before` gave back, or None.
    """

    @property
    def log_sizes(self) -> Tensor | None:
        """See the class."""
        ...

    def before(self, i: int, tokens: Ragged) -> Ragged:
        """The tokens that block i shall see, at least one per image."""
        ...

    def between(self, i: int, tokens: Ragged, context: Context) -> Ragged:
        """The tokens that block i's MLP shall see, at least one per image; prefix tokens stay in front."""
        ...
