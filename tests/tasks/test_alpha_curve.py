"""The curve over thresholds equals as many tests of the same network."""

from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from timm.models import VisionTransformer
from torch import nn
from torch.utils.data import DataLoader

from zoomexp.errors import InputError
from zoomexp.losses.cross_entropy import CrossEntropy
from zoomexp.optimizer import make_optimizer
from zoomexp.tasks.alpha_curve import AlphaCurve
from zoomexp.tokens.scorers.teacher import TeacherMaps
from zoomexp.tokens.zoomvit import ZoomViT

pytestmark = pytest.mark.filterwarnings("ignore:::pytorch_lightning")
ALPHAS = (1, 0.5, 0.05)


def model(**options):
    torch.manual_seed(0)
    vit = VisionTransformer(
        img_size=32, patch_size=8, in_chans=1, num_classes=3, embed_dim=24, depth=2, num_heads=2, init_values=1.0
    )
    for parameter in vit.parameters():
        nn.init.normal_(parameter, std=0.3)
    given = {"alpha": 0.3, "scorer": TeacherMaps(image_size=32, patch_size=8, scale="given")} | options
    return ZoomViT(vit, image_size=32, **given)


def task(net, alphas=ALPHAS):
    optimizer = partial(make_optimizer, opt="adamw", lr=1e-3)
    return AlphaCurve(
        model=net, alphas=alphas, loss=CrossEntropy(), optimizer=optimizer, scheduler=None, num_classes=3, seed=0
    )


def test_the_curve_is_that_of_single_thresholds():
    draw = torch.Generator().manual_seed(0)
    batches = [
        {"image": torch.randn(size, 1, 32, 32, generator=draw), "label": torch.randint(3, (size,), generator=draw),
         "map": torch.rand(size, 4, 4, generator=draw), "index": torch.arange(size)}
        for size in (6, 4)
    ]  # fmt: skip
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    one = task(model())
    (found,) = trainer.test(one, DataLoader(batches, batch_size=None), verbose=False)
    assert one.model.threshold.alpha == 0.3 and one.model.threshold.test_alpha is None
    rates, counts = [], []
    for alpha in ALPHAS:
        net, right, tokens = model(alpha=alpha).eval(), 0, 0
        for batch in batches:
            with torch.no_grad():
                right += int((net(batch["image"], batch["map"]).argmax(1) == batch["label"]).sum())
            tokens += int(net.lengths.sum())
        rates.append(10.0 * right)
        counts.append(tokens / 10)
        assert found[f"test/acc1_at/{alpha:g}"] == pytest.approx(rates[-1])
        assert found[f"test/tokens_at/{alpha:g}"] == pytest.approx(counts[-1])
    assert counts[0] < counts[1] < counts[2]
    assert found["test/acc1_over_alpha"] == pytest.approx(sum(rates) / 3)
    assert found["test/tokens_over_alpha"] == pytest.approx(sum(counts) / 3)


def test_refusals():
    with pytest.raises(InputError, match="task=alpha_curve: needs a model with a threshold"):
        task(model(budget=2))
    with pytest.raises(InputError, match="task=alpha_curve: needs a model with a threshold"):
        task(nn.Linear(2, 2))
    with pytest.raises(InputError, match=r"task.alphas must have at least one"):
        task(model(), ())
    with pytest.raises(InputError, match="test_alpha"):
        task(model(), (2,))
