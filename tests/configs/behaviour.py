"""What comes of a config, group by group: what is built, and what it does with images, gradients or epochs."""

import copy
from collections.abc import Callable
from functools import cache, partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.configs.described import described, weights
from tests.configs.served import served
from tests.tokens.hosts import randomised
from zoomexp import protocols, training_protocols
from zoomexp.attention.cbam import CBAM
from zoomexp.backbones.from_timm import from_timm
from zoomexp.backbones.resnet20 import resnet20
from zoomexp.backbones.zoomer import zoomer
from zoomexp.boxes import Detections, Objects
from zoomexp.decoders.fcn import fcn
from zoomexp.losses.cross_entropy import CrossEntropy
from zoomexp.losses.cross_entropy_dice import CrossEntropyDice
from zoomexp.losses.set_prediction import SetPrediction
from zoomexp.losses.zoom_distillation import ZoomDistillation
from zoomexp.model import build_model
from zoomexp.optimizer import make_optimizer
from zoomexp.tasks.mixing import Mixing
from zoomexp.tokens.scorers.entropy import Entropy
from zoomexp.tokens.yolos import YOLOS
from zoomexp.tokens.zoomvit import ZoomViT

LABELS = torch.tensor([0, 1, 2])


def images(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def maps(side: int) -> Tensor:
    return torch.rand(3, side, side, generator=torch.Generator().manual_seed(2)) * 0.8


def answers(module: nn.Module, *inputs: Tensor) -> list[Any]:
    """What a module says in two steps of training, of the first epoch and the last, and in a test; maps and losses."""
    found = []
    for training, epoch in ((True, 0), (True, 2), (False, 2)):
        module.train(training)
        for part in training_protocols.following_epochs(module):
            part.begin_epoch(epoch, 3)
        torch.manual_seed(0)
        np.random.seed(0)
        out, own = module(*inputs), training_protocols.own_loss(module)
        own = own(out.argmax(1)) if callable(own) else own
        found.append((out, own, training_protocols.further_logits(module), protocols.own_map(module), lengths(module)))
    return described(found)


def lengths(module: nn.Module) -> Any:
    return getattr(module, "tokens_per_block", getattr(module, "lengths", None))


def of_attention(made: Callable) -> Any:
    """As it begins, and with weights that a training might leave."""
    torch.manual_seed(0)
    fresh = made(16)
    learnt = randomised(copy.deepcopy(fresh), 3)
    return [weights(fresh), answers(fresh, images(2, 16, 8, 8)), answers(learnt, images(2, 16, 8, 8))]


def of_backbone(made: Callable) -> Any:
    """What was asked of timm, or of a run; of a network of this package's what it says; where its weights are of."""
    torch.manual_seed(0)
    net = made(num_classes=10, in_chans=3)
    asked, weights_of = getattr(net, "asked", None), described(getattr(net, "start_weights", None))
    side = getattr(net, "image_size", 0) or getattr(getattr(net, "patch_embed", None), "img_size", [32])[0]
    said = None if asked else answers(net, images(2, 3, side, side))
    return [type(net).__name__, described(asked), weights_of, weights(net), said]


@cache
def small_vit() -> nn.Module:
    torch.manual_seed(0)
    net = from_timm("vit_tiny_patch16_224", image_size=48, patch_size=8, embed_dim=24, depth=4, num_heads=2,
                    num_classes=10, in_chans=3)  # fmt: skip
    return randomised(net, 4)


def of_tokens(made: Callable) -> Any:
    torch.manual_seed(0)
    net = made(copy.deepcopy(small_vit()), image_size=48)
    given = {"image": images(3, 3, 48, 48), "map": maps(6)}
    return [weights(net), answers(net, *(given[name] for name in protocols.reads(net)))]


def of_scorer(made: Callable) -> Any:
    torch.manual_seed(0)
    scorer = made(image_size=48, patch_size=8, **takes(made))
    return [weights(scorer), answers(scorer, images(3, 3, 48, 48), maps(6))]


def of_detector(made: Callable) -> Any:
    torch.manual_seed(0)
    net = made(copy.deepcopy(small_vit()), num_classes=3, image_size=48)
    trained = [name for name, parameter in net.named_parameters() if parameter.requires_grad]
    return [weights(net), trained, answers(net, images(3, 3, 48, 48))]


def of_decoder(made: Callable) -> Any:
    torch.manual_seed(0)
    host = randomised(from_timm("test_resnet", num_classes=10, in_chans=3), 4)
    net = made(host, num_classes=3, example=images(1, 3, 32, 32))
    return [weights(net), answers(net, images(3, 3, 32, 32))]


def of_head(made: Callable) -> Any:
    """Also what two steps of training have left in it."""
    torch.manual_seed(0)
    host = randomised(resnet20(num_classes=10, in_chans=3), 4)
    net = made(host, num_classes=3, example=images(1, 3, 32, 32))
    return [weights(net), answers(net, images(3, 3, 32, 32)), described(dict(net.named_buffers()))]


def takes(made: partial) -> dict[str, Any]:
    """The arguments that only some scorers have."""
    names = made.func.__init__.__code__.co_varnames
    return {name: value for name, value in (("in_chans", 3), ("vit", copy.deepcopy(small_vit()))) if name in names}


def of_loss(loss: nn.Module) -> Any:
    if training_protocols.compares_maps(loss):
        return described(loss(maps(4).flip(0), maps(4)))
    if isinstance(loss, SetPrediction):
        rng = torch.Generator().manual_seed(0)
        said = Detections(torch.randn(3, 8, 4, generator=rng), torch.rand(3, 8, 4, generator=rng))
        there = Objects(torch.rand(8, 4, generator=rng), torch.arange(8) % 3, [3, 1, 4])
        return described(loss(said, there))
    if isinstance(loss, CrossEntropyDice):
        return described(
            loss(images(3, 3, 4, 4), torch.arange(48).view(3, 4, 4) % 3, maps={"layer1": maps(4)[:, None]})
        )
    if hasattr(loss, "weigh"):
        loss.weigh([9, 3, 1])
    return described([loss(images(3, 3), LABELS, maps={"layer1": maps(4)[:, None]}, epoch=0.5), loss.compare(
        images(3, 3), LABELS)])  # fmt: skip


def of_mixing(made: Callable) -> Any:
    mixing = Mixing(made, 10)
    np.random.seed(0)
    return described([mixing(images(4, 3, 8, 8), torch.arange(4)) for _ in range(12)])


def host(**options: int) -> nn.Module:
    return from_timm("vit_tiny_patch16_224", image_size=32, patch_size=16, embed_dim=8, depth=2, num_heads=2, **options)


def stand_in() -> nn.Module:
    torch.manual_seed(0)
    return build_model(host, num_classes=10, in_chans=3, image_size=32, attention=CBAM, at="last")


def of_optimizer(made: Callable) -> Any:
    """Every group of parameters by name, with its rate, decay and whatever else the optimizer keeps of it."""
    net = stand_in()
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    optimizer = made(net)
    return type(optimizer).__name__, described(
        [{**group, "params": [names[id(p)] for p in group["params"]]} for group in optimizer.param_groups]
    )


def of_scheduler(made: Callable) -> list[float]:
    """The rates of twelve steps, or epochs."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.5)
    schedule, found = made(optimizer), []
    if hasattr(schedule, "spread"):
        schedule.spread(12)
    for _ in range(12):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def of_task(made: Callable) -> Any:
    """The random numbers of its first epoch, and what it tests with."""
    net, loss = stand_in(), CrossEntropy()
    if made.func.__name__ == "ZoomerDistillation":
        net, loss = zoomer(num_classes=10, in_chans=3, image_size=32, patch_size=16, blocks=2), ZoomDistillation()
    if made.func.__name__ == "Detection":
        net, loss = YOLOS(copy.deepcopy(small_vit()), num_classes=10, image_size=48), SetPrediction()
    if made.func.__name__ == "Segmentation":
        host = from_timm("test_resnet", num_classes=10, in_chans=3)
        net, loss = fcn(host, num_classes=10, example=images(1, 3, 32, 32)), CrossEntropyDice()
    if made.func.__name__ == "AlphaCurve":
        net = ZoomViT(copy.deepcopy(small_vit()), image_size=48, scorer=Entropy)
    optimizer = partial(make_optimizer, opt="momentum", lr=0.1)
    task = made(model=net, loss=loss, optimizer=optimizer, scheduler=None, num_classes=10)
    task.on_train_epoch_start()
    kept = ("thresholds", "tta", "cache", "neighbours", "temperature", "penalties")
    return [torch.rand(2).tolist(), np.random.rand(), described([getattr(task, name, None) for name in kept])]


def of_insertion(node: dict[str, Any]) -> Any:
    stages = partial(from_timm, "resnet10t")
    return build_model(stages, num_classes=2, in_chans=1, image_size=32, attention=CBAM, at=node["at"]).insertion_sites


def of_relevance(made: Callable) -> Any:
    return described(made(data=SimpleNamespace()))


OF: dict[str, Callable[[Any], Any]] = {
    "attention": of_attention, "backbone": of_backbone, "tokens": of_tokens, "tokens/scorer": of_scorer,
    "loss": of_loss, "mixing": of_mixing, "optimizer": of_optimizer, "scheduler": of_scheduler, "task": of_task,
    "detector": of_detector, "decoder": of_decoder, "head": of_head, "insertion": of_insertion,
    "relevance": of_relevance,
    "callbacks": described, "logger": described, "train": described, "dataset": served,
}  # fmt: skip
