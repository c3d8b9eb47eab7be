"""Optimizers with their rates in tensors, against torch's own with numbers."""

import copy

import pytest
import torch
from torch.optim import SGD, Adam, AdamW

from zoomexp.graphs.rates import DeviceRates, steps_on_device, steps_on_host

KINDS = {
    "sgd": lambda p: SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-2),
    "nesterov": lambda p: SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "adam": lambda p: Adam(p, lr=0.1, weight_decay=1e-2),
    "adamw": lambda p: AdamW(p, lr=0.1, weight_decay=1e-1, betas=(0.8, 0.9)),
}


def stepped(optimizer, weights, steps, first=0):
    """Steps with gradients that each step draws anew; the rate halves after every second one."""
    for number in range(first, first + steps):
        draw = torch.Generator().manual_seed(number)
        for weight in weights:
            weight.grad = torch.randn(weight.shape, generator=draw, dtype=weight.dtype)
        for group in optimizer.param_groups:
            group["lr"] = 0.1 * 0.5 ** (number // 2)
        optimizer.step()
    return [weight.detach().clone() for weight in weights]


def made(kind):
    torch.manual_seed(0)
    weights = [torch.nn.Parameter(torch.randn(shape, dtype=torch.float64)) for shape in ((3, 4), (5,))]
    return KINDS[kind]([{"params": [weights[0]]}, {"params": [weights[1]], "weight_decay": 0.0}]), weights


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_steps(kind):
    plain, weights = made(kind)
    expected = stepped(plain, weights, 6)
    optimizer, own = made(kind)
    assert steps_on_device(optimizer)
    rates = DeviceRates(optimizer, torch.device("cpu"))
    torch.testing.assert_close(stepped(optimizer, own, 6), expected, rtol=1e-6, atol=1e-7)  # rates are float32
    assert [group["lr"] for group in optimizer.param_groups] == [0.1 * 0.5**2] * 2
    assert [float(rate) for rate in rates.rates] == pytest.approx([0.025] * 2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_of_either_form_goes_on_in_the_other(kind):
    plain, weights = made(kind)
    expected = stepped(plain, weights, 5)
    for device_first in (True, False):
        first, own = made(kind)
        if device_first:
            DeviceRates(first, torch.device("cpu"))
        stepped(first, own, 2)
        second = KINDS[kind]([{"params": [own[0]]}, {"params": [own[1]], "weight_decay": 0.0}])
        second.load_state_dict(copy.deepcopy(first.state_dict()))
        if device_first:
            steps_on_host(second)
            assert not any(group["fused"] for group in second.param_groups)
        else:
            DeviceRates(second, torch.device("cpu"))
        torch.testing.assert_close(stepped(second, own, 3, first=2), expected, rtol=1e-6, atol=1e-7)


def test_what_steps_in_another_way_is_left_alone():
    class Own(SGD):
        pass

    weights = [torch.nn.Parameter(torch.ones(1))]
    assert not steps_on_device(Own(weights, lr=0.1)) and not steps_on_device(torch.optim.RMSprop(weights))
    assert not steps_on_device(Adam(weights, maximize=True))
    assert not steps_on_device(SGD(weights, lr=0.1, momentum=0.9, dampening=0.5))


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_that_learn_later_than_others_of_their_group(kind):
    def thawed(on_device):
        torch.manual_seed(0)
        weights = [torch.nn.Parameter(torch.randn(3, dtype=torch.float64)) for _ in range(2)]
        optimizer = KINDS[kind](weights)
        if on_device:
            DeviceRates(optimizer, torch.device("cpu"))
        for number in range(4):
            weights[1].requires_grad_(number > 1)
            weights[0].grad = torch.ones(3, dtype=torch.float64)
            weights[1].grad = weights[0].grad * number if number > 1 else None
            optimizer.step()
        return [weight.detach() for weight in weights]

    torch.testing.assert_close(thawed(True), thawed(False), rtol=1e-6, atol=1e-7)
