"""callbacks=[default,dynamics]: what it writes, by hand; that it changes nothing; that a resumed run has all of it."""

import math
from functools import partial

import pandas as pd
import pytest
import torch

from zoomexp.callbacks.dynamics import gradient_shares, statistics, way
from zoomexp.callbacks.mask_path import mask_share, mask_shares
from zoomexp.insertion import insert

WORDS = ("attention=loupe", "trainer.max_epochs=2", "callbacks=[default,dynamics]", "callbacks.dynamics.images=5",
         "callbacks.dynamics.every=2", "callbacks.dynamics.epochs=1", "dataset.batch_size=32")  # fmt: skip


def test_a_run_writes_its_first_epochs_and_is_the_same_run(train, folders, tmp_path):
    assert train(*WORDS).code == 0
    (folder,) = folders()
    written, history = (pd.read_csv(folder / name) for name in ("dynamics.csv", "history.csv"))
    steps = -(-(128 - 13) // 32)  # a tenth is held out
    looks = written["step"].unique().tolist()
    assert looks == list(range(0, steps + 1, 2)) and set(written["epoch"]) == {0}
    assert written["site"].nunique() == len(written) / len(looks)
    assert written.loc[written["step"] == 0, "gradient"].isna().all()
    assert written.loc[written["step"] > 0, "gradient"].between(0, 1, inclusive="neither").all()
    assert written["mask_path"].between(0, 1, inclusive="neither").all()  # before the first step, too
    assert written["low"].le(written["mean"]).all() and written["mean"].le(written["high"]).all()
    words = [word for word in WORDS if "dynamics" not in word]
    assert train(*words, "rerun=true").code == 0
    assert folders() == [folder]
    again = pd.read_csv(folder / "history.csv")
    clocks = [name for name in history if name.endswith(("_s", "img_per_s", "mib"))]
    pd.testing.assert_frame_equal(history.drop(columns=clocks), again.drop(columns=clocks))


def test_without_maps_there_is_no_file(train, folders):
    assert train("attention=none", "callbacks=[default,dynamics]").code == 0
    assert not (folders()[0] / "dynamics.csv").exists()


def test_bad_options_are_named(train):
    ended = train("callbacks=[default,dynamics]", "callbacks.dynamics.every=0")
    assert ended.code == 2 and ended.err.startswith("error: callbacks.dynamics.every")


def test_statistics_by_hand():
    maps = torch.tensor([[0.0, 0.2, 0.4, 1.0], [0.5, 0.5, 0.5, 0.5]]).view(2, 1, 2, 2)
    found = statistics(maps)
    assert found["mean"] == pytest.approx(0.45)
    assert found["spread"] == pytest.approx((0.14**0.5) / 2)  # squares about 0.4: 0.16, 0.04, 0, 0.36
    assert (found["low"], found["high"]) == pytest.approx((0.14, 0.65))
    last = torch.tensor([[1.0, 0.4, 0.2, 0.0], [0.5, 0.5, 0.5, 0.5]])
    moved = way(maps.flatten(1), last)
    assert moved["distance"] == pytest.approx((1 + 0.2 + 0.2 + 1) / 8)
    a = torch.tensor([-0.4, -0.2, 0.0, 0.6])
    assert moved["correlation"] == pytest.approx(float(a @ torch.tensor([0.6, 0.0, -0.2, -0.4]) / 0.56) / 2)


def test_the_share_of_the_gradient():
    from zoomexp.attention.loupe import Loupe
    from zoomexp.backbones.resnet20 import ResNet20

    net = ResNet20(num_classes=10, in_chans=1)
    insert(net, Loupe, 0, torch.zeros(1, 1, 32, 32))
    assert gradient_shares(net) == {}
    net(torch.randn(4, 1, 32, 32)).square().sum().backward()
    (share,) = gradient_shares(net).values()
    own = [p.grad for name, p in net.named_parameters() if "inserted" in name]
    every = [p.grad for p in net.parameters()]
    norms = [torch.cat([gradient.flatten() for gradient in some]).double().norm() for some in (own, every)]
    assert share == pytest.approx(float(norms[0] / norms[1]), rel=1e-4)


def test_the_share_through_the_mask_is_the_equation_written_out():
    """One channel, one position, m = sigmoid(w x): direct m g, and through the mask m (1 - m) w x g."""
    from zoomexp.attention.loupe import Loupe

    module, x, g = Loupe(1), 1.5, torch.tensor([[[[-0.7]]]])
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        module.squeeze.weight[0, 0, 1, 1], module.expand.weight[0, 0, 0, 0] = 1.0, 2.0
    m = 1 / (1 + math.exp(-2 * x))
    direct, through = abs(m * -0.7), abs(m * (1 - m) * 2 * x * -0.7)
    found = mask_share(module, torch.full((1, 1, 1, 1), x), g)
    assert found == pytest.approx(through / (direct + through), rel=1e-6)
    assert module.held is None


@pytest.mark.parametrize("mask", ["learned", "scalar", "random"])
def test_in_a_network_it_is_that_of_the_jacobian(mask):
    """(dm/dx)^T (x . g) by the mask's whole Jacobian; g through mean pooling and a linear layer by hand."""
    from zoomexp.attention.loupe import Loupe
    from zoomexp.backbones.resnet20 import ResNet20

    torch.manual_seed(0)
    net = ResNet20(num_classes=10, in_chans=1).eval()
    insert(net, partial(Loupe, mask=mask), "stage3", torch.zeros(1, 1, 32, 32))
    images, labels = torch.randn(2, 1, 32, 32), torch.tensor([3, 4])
    (share,) = mask_shares(net, images, labels).values()
    assert all(parameter.grad is None for parameter in net.parameters())
    with torch.no_grad():
        kept = []
        (inserted,) = net.inserted.values()
        hook = inserted.module.register_forward_pre_hook(lambda _, given: kept.append(given[0]))
        logits = net(images)
        hook.remove()
    (x,) = kept
    errors = logits.softmax(1) - torch.nn.functional.one_hot(labels, 10)
    g = (errors @ net.get_classifier().weight)[:, :, None, None].expand_as(x) / (2 * x[0, 0].numel())  # mean pooling
    jacobian = torch.autograd.functional.jacobian(inserted.module._mask, x)  # (B, 1, H, W, B, C, H, W)
    through = torch.einsum("bhw,bhwdcij->dcij", (x * g).sum(1), jacobian[:, 0])
    direct = inserted.module._mask(x).detach() * g
    expected = through.norm() / (through.norm() + direct.norm())
    assert share == pytest.approx(float(expected.detach()), rel=1e-4) and (share == 0) == (mask == "random")
