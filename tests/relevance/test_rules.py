"""The relevance rules against their equations, written out in loops, and what each of them conserves."""

import pytest
import torch

from zoomexp.relevance import rules


@pytest.fixture(autouse=True)
def double():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def conserved(after, before):
    total = sum(part.flatten(1).sum(1) for part in after)
    torch.testing.assert_close(total, before.flatten(1).sum(1), rtol=1e-4, atol=1e-9)


def test_linear_is_the_equation():
    relevance, x, weight = torch.rand(2, 3, 5), torch.randn(2, 3, 4), torch.randn(5, 4)
    expected = torch.zeros_like(x)
    for b in range(2):
        for n in range(3):
            for j in range(5):
                positive = [max(float(x[b, n, i] * weight[j, i]), 0) for i in range(4)]
                for i in range(4):
                    if sum(positive) > 0:
                        expected[b, n, i] += positive[i] / sum(positive) * relevance[b, n, j]
    for product in (None, x @ weight.T):
        torch.testing.assert_close(rules.linear(relevance, x, weight, product), expected)


def test_linear_conserves_what_has_a_positive_contribution():
    relevance, x, weight = torch.randn(3, 7, 40), torch.randn(3, 7, 30), torch.randn(40, 30)
    conserved([rules.linear(relevance, x, weight)], relevance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_linear_drops_the_relevance_of_a_unit_without_positive_contributions(dtype):
    x, weight = torch.rand(2, 500, dtype=dtype) + 0.1, torch.randn(3, 500, dtype=dtype)
    weight[1] = -weight[1].abs()
    relevance = torch.tensor([[1.0, 5.0, 2.0]], dtype=dtype).repeat(2, 1)
    back = rules.linear(relevance, x, weight)
    assert back.sum(1).tolist() == pytest.approx([3.0, 3.0], rel=1e-4)
    assert rules.linear(torch.tensor([[0.0, 5.0, 0.0]], dtype=dtype), x[:1], weight).eq(0).all()


def test_matmul_is_the_equation_and_conserves():
    relevance, left, right = torch.randn(2, 2, 3, 4), torch.randn(2, 2, 3, 5), torch.randn(2, 2, 5, 4)
    of_left, of_right = rules.matmul(relevance, left, right)
    expected_left, expected_right = torch.zeros_like(left), torch.zeros_like(right)
    for b, h, n, m in torch.cartesian_prod(*map(torch.arange, (2, 2, 3, 4))).tolist():
        z = sum(float(left[b, h, n, k] * right[b, h, k, m]) for k in range(5))
        for k in range(5):
            share = float(left[b, h, n, k] * right[b, h, k, m]) / z * relevance[b, h, n, m] / 2
            expected_left[b, h, n, k] += share
            expected_right[b, h, k, m] += share
    torch.testing.assert_close(of_left, expected_left)
    torch.testing.assert_close(of_right, expected_right)
    conserved([of_left, of_right], relevance)


def test_add_is_the_equation_per_sample_and_conserves():
    relevance, a, b = torch.randn(3, 4, 5), torch.randn(3, 4, 5), torch.randn(3, 4, 5)
    of_a, of_b = rules.add(relevance, a, b)
    for i in range(3):
        plain_a, plain_b = (part[i] * relevance[i] / (a[i] + b[i]) for part in (a, b))
        sizes = abs(plain_a.sum()) + abs(plain_b.sum())
        torch.testing.assert_close(of_a[i], plain_a * abs(plain_a.sum()) / sizes * relevance[i].sum() / plain_a.sum())
        torch.testing.assert_close(of_b[i], plain_b * abs(plain_b.sum()) / sizes * relevance[i].sum() / plain_b.sum())
    conserved([of_a, of_b], relevance)


def test_clone_and_mean_are_the_equations_and_conserve():
    x, parts = torch.randn(2, 3, 4), [torch.randn(2, 3, 4) for _ in range(3)]
    torch.testing.assert_close(rules.clone(*parts), x * sum(part / x for part in parts))
    conserved([rules.clone(*parts)], sum(parts))
    relevance = torch.randn(2, 4)
    back = rules.mean(relevance, x)
    for i in range(3):
        torch.testing.assert_close(back[:, i], x[:, i] * (relevance / (3 * x.mean(1))))
    conserved([back], relevance)


def test_a_denominator_of_zero_drops_its_relevance():
    one = torch.ones(1, 1)
    for part in (*rules.add(one, one, -one), *rules.matmul(one, one, 0 * one)):
        assert part.item() == 0
    assert rules.mean(one, torch.tensor([[[1.0], [-1.0]]])).eq(0).all()


def test_no_rule_mixes_samples():
    relevance, a, b, weight = torch.randn(3, 4, 5), torch.randn(3, 4, 5), torch.randn(3, 4, 5), torch.randn(5, 5)
    for rule in (
        lambda s: rules.linear(relevance[s], a[s], weight),
        lambda s: rules.matmul(relevance[s], a[s], weight.expand(len(a[s]), 5, 5))[1],
        lambda s: rules.add(relevance[s], a[s], b[s])[0],
        lambda s: rules.mean(relevance[s, 0], a[s]),
    ):
        alone = torch.cat([rule(slice(i, i + 1)) for i in range(3)])
        torch.testing.assert_close(rule(slice(None)), alone)
