"""A linear layer on a stage's features: which features, in every layout, and what is trained."""

import copy
from functools import partial

import pytest
import timm
import torch

from zoomexp.attention.loupe import Loupe
from zoomexp.errors import InputError
from zoomexp.heads.stage import StageHead
from zoomexp.model import build_model
from zoomexp.tasks.features import head_of, watching

HOSTS = {  # host -> where its second of four stages ends, one behind, and the mean of the output's positions
    "resnet18": ("layer2", "layer3", lambda x: x.mean((2, 3))),
    "swin_tiny_patch4_window7_224": ("layers.1", "layers.2", lambda x: x.mean((1, 2))),
    "vit_tiny_patch16_224": ("blocks.5", "blocks.6", lambda x: x[:, 1:].mean(1)),
}


def built(name, at="stage2", **more):
    def host(num_classes, in_chans):
        size = {} if "resnet" in name else {"img_size": 64}
        window = {"window_size": 2} if "swin" in name else {}
        return timm.create_model(name, num_classes=num_classes, in_chans=in_chans, **size, **window)

    head = partial(StageHead, at=at)
    return build_model(host, num_classes=5, in_chans=3, image_size=64, head=head, **more).eval()


@pytest.mark.parametrize("name", HOSTS)
def test_the_layer_sees_the_mean_of_the_stage(name):
    torch.manual_seed(0)
    net, images = built(name), torch.randn(2, 3, 64, 64)
    path, behind, pooled = HOSTS[name]
    kept = []
    net.host.get_submodule(path).register_forward_hook(lambda _m, _a, output: kept.append(output))
    with torch.no_grad(), watching(head_of(net)[1]) as seen:
        logits = net(images)
    torch.testing.assert_close(seen[0], pooled(kept[0]))
    torch.testing.assert_close(logits, pooled(kept[0]) @ net.fc.weight.T + net.fc.bias)
    assert head_of(net)[0] == "fc" and net.features_at.startswith(path) and net.insertion_sites == []
    torch.testing.assert_close(copy.deepcopy(net)(images), logits)
    net(images).sum().backward()
    assert all((p.grad is not None) == p.requires_grad for p in net.parameters())
    assert not any(p.requires_grad for p in net.host.get_submodule(behind).parameters())


def test_behind_a_module_that_stands_there():
    torch.manual_seed(0)
    net, images = built("resnet18", attention=Loupe, at="stage2"), torch.randn(2, 3, 64, 64)
    assert list(net.inserted) == ["layer2"] and net.insertion_sites == ["layer2"]
    kept = []
    net.inserted["layer2"].module.register_forward_hook(lambda _m, _a, output: kept.append(output))
    with torch.no_grad(), watching(net.fc) as seen:
        net(images)
    torch.testing.assert_close(seen[0], kept[0].mean((2, 3)))


@pytest.mark.parametrize(("at", "message"), [("every_stage", "head.at=every_stage: must name one place"),
                                             ("stage9", "no site 'stage9'")])  # fmt: skip
def test_bad_places(at, message):
    with pytest.raises(InputError, match=message):
        built("resnet18", at=at)
