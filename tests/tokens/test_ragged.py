"""Ragged against plain Python over lists of tensors."""

import pytest
import torch

from zoomexp.errors import InputError
from zoomexp.tokens.ragged import Ragged

LENGTHS = torch.tensor([3, 1, 4, 2])


@pytest.fixture
def tokens():
    return Ragged(torch.randn(10, 5, generator=torch.Generator().manual_seed(0)), LENGTHS)


def test_owner_offsets_and_sizes(tokens):
    assert tokens.sizes == [3, 1, 4, 2]
    assert tokens.owner().tolist() == [0, 0, 0, 1, 2, 2, 2, 2, 3, 3]
    assert tokens.offsets().tolist() == [0, 3, 4, 8, 10]
    assert not tokens.equal


def test_padded_is_each_image_and_zeros_and_comes_back(tokens):
    x, keep = tokens.padded()
    assert x.shape == (4, 4, 5)
    for row, mask, part in zip(x, keep, tokens.values.split(tokens.sizes), strict=True):
        assert mask.tolist() == [True] * len(part) + [False] * (4 - len(part))
        assert torch.equal(row[: len(part)], part)
        assert not row[len(part) :].any()
    wider = torch.cat([x, torch.full((4, 2, 5), torch.nan)], 1)
    assert torch.equal(Ragged.from_padded(wider, LENGTHS).values, tokens.values)


def test_padding_and_back_pass_gradients_on(tokens):
    values = tokens.values.clone().requires_grad_()
    weights = torch.arange(50.0).reshape(10, 5)
    (Ragged.from_padded(tokens.with_values(values).padded()[0], LENGTHS).values * weights).sum().backward()
    assert torch.equal(values.grad, weights)


def test_dense_and_back():
    x = torch.arange(24.0).reshape(2, 3, 4)
    tokens = Ragged.from_dense(x)
    assert tokens.equal
    assert tokens.sizes == [3, 3]
    assert torch.equal(tokens.dense(), x)
    padded, keep = tokens.padded()
    assert torch.equal(padded, x)
    assert keep.shape == (2, 3)
    assert keep.all()


def test_values_of_any_width_and_rank():
    x, _ = Ragged(torch.arange(1, 4), torch.tensor([2, 1])).padded()
    assert x.tolist() == [[1, 2], [3, 0]]
    x, _ = Ragged(torch.ones(3, 2, 2), torch.tensor([1, 2])).padded()
    assert x.sum((2, 3)).tolist() == [[4, 0], [4, 4]]


def test_with_values_keeps_what_is_known_of_the_lengths(tokens):
    owner = tokens.owner()
    other = tokens.with_values(torch.zeros(10, 2))
    assert other.values.shape == (10, 2)
    assert other.sizes is tokens.sizes
    assert other.owner() is owner
    assert tokens.values.shape == (10, 5)


def test_take(tokens):
    index = torch.tensor([2, 0, 3, 9])
    taken = tokens.take(index, torch.tensor([2, 1, 1]))
    assert torch.equal(taken.values, tokens.values[index])
    assert taken.sizes == [2, 1, 1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Ragged(torch.zeros(3, 1), torch.tensor([1, 1])), "sum to the 3 tokens given, got [1, 1]"),
        (lambda: Ragged(torch.zeros(3, 1), torch.tensor([3, 0])), "at least 1 and sum to the 3"),
        (lambda: Ragged(torch.zeros(3, 1), torch.tensor([3.0])), "(B,) int64 with B at least 1, got torch.float32"),
        (lambda: Ragged(torch.zeros(3, 1), torch.tensor([[3]])), "got torch.int64 of shape (1, 1)"),
        (lambda: Ragged(torch.zeros(0, 1), torch.tensor([], dtype=torch.int64)), "with B at least 1"),
        (lambda: Ragged.from_padded(torch.zeros(2, 3, 1), torch.tensor([1, 4])), "2 numbers in 1..3, got [1, 4]"),
        (lambda: Ragged.from_padded(torch.zeros(2, 3, 1), torch.tensor([1])), "2 numbers in 1..3, got [1]"),
        (lambda: Ragged(torch.zeros(3, 1), torch.tensor([1, 2])).dense(), "sequences of one length, got [1, 2]"),
        (lambda: Ragged(torch.zeros(3, 1), torch.tensor([3])).with_values(torch.zeros(2, 1)), "3 rows as before"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(InputError) as error:
        make()
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")  # said by torch whenever it is set
def test_lengths_on_the_cpu_never_wait_for_the_device():
    torch.cuda.set_sync_debug_mode("error")
    try:
        tokens = Ragged(torch.ones(10, 5, device="cuda"), LENGTHS.pin_memory())
        tokens.padded(), tokens.owner(), tokens.offsets()
    finally:
        torch.cuda.set_sync_debug_mode("default")
