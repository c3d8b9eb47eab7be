"""The moving average with a warm-up, against timm's own."""

import pytest
import torch
from timm.utils import ModelEmaV3
from torch import nn
from torch.optim.swa_utils import AveragedModel

from zoomexp.callbacks.averaging import ema
from zoomexp.errors import InputError


def test_the_warm_up_is_timms():
    torch.manual_seed(0)
    net = nn.Linear(3, 2)
    ours = AveragedModel(net, avg_fn=ema(0.9, warmup=True)._kwargs["avg_fn"])
    timms = ModelEmaV3(net, decay=0.9, use_warmup=True)
    for step in range(60):
        with torch.no_grad():
            net.weight.add_(torch.randn(2, 3))
        if step == 0:
            timms.set(net)  # the first average is the network
        else:
            timms.update(net, step=step)
        ours.update_parameters(net)
        torch.testing.assert_close(ours.module.weight, timms.module.weight)


def test_refusals():
    with pytest.raises(InputError, match=r"callbacks\.ema\.warmup='yes' must be true or false"):
        ema(0.9, warmup="yes")
