"""Another rounding changes every weight by a millionth of itself, and belongs to a run's name."""

import pytest
import torch

from zoomexp.errors import InputError
from zoomexp.run.rounding import perturb


def test_weights_move_by_a_millionth():
    net, same = (torch.nn.Linear(300, 300, dtype=torch.float64) for _ in range(2))
    same.load_state_dict(net.state_dict())
    perturb(net, None)
    assert torch.equal(net.weight, same.weight)
    perturb(net, 1)
    share = (net.weight.detach() / same.weight.detach() - 1) / 1e-6
    assert abs(share.mean()) < 0.02
    assert share.std() == pytest.approx(1, abs=0.02)
    perturb(same, 2)
    assert not torch.equal(net.weight, same.weight)
    with pytest.raises(InputError, match="rounding"):
        perturb(net, "some")


def test_a_draw_is_another_run(train, folders, facts):
    few = ("attention=none", "trainer=smoke")
    assert train(*few).code == 0
    (plain,) = folders()
    assert train(*few, "rounding=null").code == 0
    assert folders() == [plain]
    assert train(*few, "rounding=1").code == 0
    assert len(folders()) == 2
