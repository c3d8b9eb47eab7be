"""callbacks=[default,dynamics]: what it writes, by hand; that it changes nothing; that a resumed run has all of it."""

import pandas as pd
import pytest
import torch

from zoomexp.callbacks.dynamics import gradient_shares, statistics, way
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
