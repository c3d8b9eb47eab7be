"""Peak memory against sizes known by hand."""

import pytest
import torch

from zoomexp.metrics.memory import largest_batch, peak_bytes

MIB, CPU = 2**20, torch.device("cpu")


def block(mib):
    return torch.empty(mib * MIB, dtype=torch.uint8)


def test_the_peak_is_what_is_held_at_once():
    before = block(8)

    def work():
        first, second = block(4), block(2)  # 6
        del first
        third = block(3)  # 5
        return second, third

    assert peak_bytes(work, CPU) == 6 * MIB
    assert peak_bytes(lambda: before.clone(), CPU) == 8 * MIB
    assert peak_bytes(lambda: before.zero_(), CPU) == 0


def test_what_is_released_while_it_runs_and_was_there_before_does_not_count():
    held = [block(4)]

    def work():
        held.clear()
        return block(1)

    assert peak_bytes(work, CPU) == MIB


def test_what_an_earlier_count_left_behind_does_not_count():
    held = []
    assert peak_bytes(lambda: held.append(block(4)), CPU) == 4 * MIB
    assert peak_bytes(lambda: block(1), CPU) == MIB
    held.clear()
    assert peak_bytes(lambda: block(2), CPU) == 2 * MIB


def test_a_training_step_keeps_what_the_backward_needs():
    x = torch.zeros(1024, 256, requires_grad=True)

    def forward():
        return x.exp().exp().exp().sum()

    with torch.no_grad():
        assert peak_bytes(forward, CPU) == 2 * x.nbytes  # an input and an output
    with_sum = 3 * x.nbytes + 4
    assert peak_bytes(forward, CPU) == with_sum
    assert with_sum + x.nbytes <= peak_bytes(lambda: forward().backward(), CPU) < 4.1 * x.nbytes  # and a gradient


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
@pytest.mark.parametrize(("room", "expected"), [(0, 0), (1, 1), (100, 64), (2**30, 2**20)])
def test_the_largest_batch_is_found_by_doubling(room, expected, error):
    def work(batch):
        if batch > room:
            raise error("full")

    assert largest_batch(work) == expected
