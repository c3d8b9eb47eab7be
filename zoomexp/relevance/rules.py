"""Relevance propagation, one rule per operation: given the relevance of what came out, that of what went in.

Deep Taylor decomposition as "Transformer Interpretability Beyond Attention Visualization" (Chefer et al. 2021, arXiv
2012.09838) applies it. Norms, GELU, softmax, dropout and LayerScale pass relevance on unchanged and need no rule. The
first axis is the batch; no rule mixes samples.

    linear   R_in = x+ (W+)^T S + x- (W-)^T S,   S = R / (W+ x+ + W- x-)        alpha = 1, beta = 0, no bias
    matmul   Z = U V:  R_U = U (R/Z) V^T / 2,    R_V = V (U^T R/Z) / 2
    add      z = a + b:  a R/z and b R/z, rescaled so that a gets |sum| / (|sum| + |sum|) of the sample's relevance
    clone    the sum of the copies' relevance
    mean     z = mean_i x_i:  R_i = x_i R / (N z)

What is conserved: all of these give on what they receive, except at a quotient with a denominator of at most EPSILON,
whose relevance is dropped (as the reference code drops it at 0). So a unit without any positive contribution loses its
relevance in `linear`, and everything else in a rule is conserved to rounding. The reference adds 1e-9 to every
denominator instead, and multiplies a clone's relevance by x / x; the difference is of that size.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

EPSILON = 1e-9


def quotient(relevance: Tensor, z: Tensor) -> Tensor:
    """R / z, and 0 where |z| <= EPSILON; two tensors of one shape. Not differentiable, as no rule is.

    >>> quotient(torch.tensor([3.0, 3.0, 0.0]), torch.tensor([-2.0, 0.0, 0.0]))
    tensor([-1.5000,  0.0000,  0.0000])
    """
    share = F.hardshrink(z, EPSILON)
    return torch.nan_to_num_(torch.div(relevance, share, out=share), nan=0.0, posinf=0.0, neginf=0.0)


def linear(relevance: Tensor, x: Tensor, weight: Tensor, product: Tensor | None = None) -> Tensor:
    """Through a linear layer, counting its positive contributions only; the bias takes no part.

    With 2 W+ x+ + 2 W- x- = W x + |W| |x| three matrix products do what four do in the equation. `total` is a sum of
    positive terms, so what rounding leaves where there are none is told from it by its size: 4 eps of |W| |x| are
    taken off, which is all that this rule fails to conserve.

    Args:
        relevance: (B, ..., D_out).
        x: the layer's input, (B, ..., D_in).
        weight: (D_out, D_in).
        product: W x (B, ..., D_out), the output without the bias, where it is known in the precision of x.

    Returns:
        (B, ..., D_in).

    >>> x, weight = torch.tensor([[1.0, -2.0]]), torch.tensor([[3.0, -0.5], [1.0, 1.0]])
    >>> linear(torch.tensor([[4.0, 5.0]]), x, weight).round(decimals=3)  # 4 as 3 : 1, then 5 as 1 : 0
    tensor([[8., 1.]])
    """
    size, magnitude = x.abs(), weight.abs()
    largest = F.linear(size, magnitude)
    total = largest.add(F.linear(x, weight) if product is None else product)
    total = total.sub_(largest, alpha=4 * torch.finfo(total.dtype).eps).relu_()
    share = quotient(relevance, total)
    return (share @ weight).mul_(x).addcmul_(size, share @ magnitude)


def matmul(relevance: Tensor, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Through Z = left @ right; each factor gets half.

    Args:
        relevance: (B, ..., N, M).
        left: (B, ..., N, K).
        right: (B, ..., K, M).

    Returns:
        The relevance of left and right, in their shapes.

    >>> matmul(torch.tensor([[6.0]]), torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0], [1.0]]))[0]
    tensor([[1., 2.]])
    """
    share = quotient(relevance, left @ right).div_(2)
    return (share @ right.mT).mul_(left), (left.mT @ share).mul_(right)


def add(relevance: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Through z = a + b; tensors (B, ...) of one shape. The reference's sums run over the batch, these do not.

    Returns:
        The relevance of a and b. A sample whose a and b both end with sum 0 loses its relevance.

    >>> a, b = torch.tensor([[1.0, 3.0]]), torch.tensor([[1.0, -1.0]])
    >>> for part in add(torch.tensor([[4.0, 2.0]]), a, b):  # parts 2, 3 and 2, -1; 6 is split as 5 : 1
    ...     print(part)
    tensor([[2., 3.]])
    tensor([[ 2., -1.]])
    """
    share = quotient(relevance, a + b)
    of_a, of_b = share * a, share * b
    sum_a, sum_b, whole = (_per_sample(part) for part in (of_a, of_b, relevance))
    scale = quotient(whole, sum_a.abs() + sum_b.abs())
    return of_a.mul_(scale * sum_a.sign()), of_b.mul_(scale * sum_b.sign())


def clone(*relevances: Tensor) -> Tensor:
    """Where a value went several ways: the sum of what comes back along them."""
    return sum(relevances[1:], relevances[0])


def mean(relevance: Tensor, x: Tensor) -> Tensor:
    """Through the mean over tokens: (B, D) and x (B, N, D) to (B, N, D).

    >>> mean(torch.tensor([[8.0]]), torch.tensor([[[1.0], [3.0]]])).flatten()
    tensor([2., 6.])
    """
    return x * quotient(relevance, x.sum(1))[:, None]


def _per_sample(x: Tensor) -> Tensor:
    """Sum over all axes but the first, which stay with size 1."""
    return x.flatten(1).sum(1).view(-1, *[1] * (x.dim() - 1))
