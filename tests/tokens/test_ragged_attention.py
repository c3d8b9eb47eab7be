"""Ragged attention against softmax written out per image."""

from itertools import pairwise

import pytest
import torch

from tests.tokens.hosts import close
from zoomexp.tokens import ragged_attention
from zoomexp.tokens.ragged import Ragged


def dense_attention(q, k, v, bias):
    """softmax(q k' / sqrt(d) + b) v of one image, heads first."""
    q, k, v = (x.transpose(0, 1) for x in (q, k, v))
    weights = (q @ k.mT / q.shape[-1] ** 0.5 + bias).softmax(-1)
    return (weights @ v).transpose(0, 1), weights[:, 0].mean(0)


@pytest.mark.parametrize("lengths", [[3, 1, 5], [3, 3, 3]])
def test_attention_with_a_bias_per_key_is_the_written_out_one(lengths):
    generator = torch.Generator().manual_seed(8)
    q, k, v = torch.randn(3, 9, 2, 4, generator=generator, dtype=torch.float64)
    bias = torch.randn(9, generator=generator, dtype=torch.float64, requires_grad=True)
    layout = Ragged(bias, torch.tensor(lengths))
    parts = zip(*(x.split(lengths) for x in (q, k, v, bias)), strict=True)
    outputs, rows = zip(*(dense_attention(*part) for part in parts), strict=True)
    actual = ragged_attention.attend(q, k, v, layout, log_sizes=bias)
    close(actual, torch.cat(outputs))
    (gradient,), (expected,) = (torch.autograd.grad(x.sin().sum(), bias) for x in (actual, torch.cat(outputs)))
    close(gradient, expected)
    close(ragged_attention.first_row(q, k, layout, log_sizes=bias), torch.cat(rows))


def test_first_row_of_large_scores_is_finite():
    q, layout = torch.full((5, 2, 4), 100.0), Ragged(torch.zeros(5, 1), torch.tensor([2, 3]))
    close(ragged_attention.first_row(q, q, layout), torch.tensor([1 / 2, 1 / 2, 1 / 3, 1 / 3, 1 / 3]))


def test_queries_and_keys_in_single_precision_follow_the_values():
    q, k, v = torch.randn(3, 5, 2, 4, generator=torch.Generator().manual_seed(9))
    layout = Ragged(q, torch.tensor([2, 3]))
    half = ragged_attention.attend(q, k, v.bfloat16(), layout)
    assert half.dtype == torch.bfloat16
    close(half.float(), ragged_attention.attend(q, k, v, layout), 0.05)


def test_the_kernel_for_variable_lengths_gets_offsets_and_the_longest(monkeypatch):
    q, k, v = torch.randn(3, 14, 2, 4, generator=torch.Generator().manual_seed(9))
    layout = Ragged(q, torch.tensor([9, 1, 4]))
    expected = ragged_attention.attend(q, k, v, layout)

    def varlen(q, k, v, starts, key_starts, longest, longest_key):
        assert starts.dtype == key_starts.dtype == torch.int32
        assert (longest, longest_key) == (9, 9)
        return torch.cat([dense_attention(q[a:b], k[a:b], v[a:b], 0)[0] for a, b in pairwise(starts)])

    monkeypatch.setattr(ragged_attention, "varlen_attn", varlen)
    monkeypatch.setattr(ragged_attention, "_takes_varlen", lambda v: True)
    close(ragged_attention.attend(q, k, v, layout), expected)
    monkeypatch.setattr(ragged_attention, "varlen_attn", None)  # it takes neither bias nor dropout
    close(ragged_attention.attend(q, k, v, layout, log_sizes=torch.zeros(14)), expected)
    assert not torch.allclose(ragged_attention.attend(q, k, v, layout, dropout=0.5), expected)
