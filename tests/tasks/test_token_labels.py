"""Targets of tokens from labels of places: RoIAlign written out, views that are mirrored or turned, both terms."""

import itertools
import math

import pytest
import torch

from zoomexp.backbones.lv_vit import lv_vit
from zoomexp.losses.cross_entropy import CrossEntropy
from zoomexp.tasks.classification import Classifier
from zoomexp.tasks.token_labels import TokenLabels

SIZE, S, K = 24, 6, 7
LABELS = torch.tensor([4, 0, 6])


def kept(seed=0, top=5):
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, K, S, S, generator=draw) * 2
    highest, classes = logits.topk(top, 1)
    return torch.stack([highest, classes.float()], 1).half()


def window(x0, y0, x1, y1, mirrored=False):
    """What moves a window of the square onto all of it."""
    kx, ky = SIZE / (x1 - x0), SIZE / (y1 - y0)
    return [[-kx, 0.0, x1 * kx] if mirrored else [kx, 0, -x0 * kx], [0, ky, -y0 * ky], [0, 0, 1]]


def batch(*views, **more):
    images = torch.zeros(3, 1, SIZE, SIZE)
    return {"dense_labels": kept(), "view": torch.tensor(views), "image": images, "label": LABELS, **more}


def at(label_map, y, x):
    """Bilinear between the centres of cells, the border's values beyond them, and 0 from one cell beyond that."""
    if not (-1 <= y <= S and -1 <= x <= S):
        return torch.zeros(K)
    y, x = min(max(y, 0), S - 1), min(max(x, 0), S - 1)
    top, left = min(int(y), S - 2), min(int(x), S - 2)
    v, u = y - top, x - left
    rows = [(1 - u) * label_map[:, top + i, left] + u * label_map[:, top + i, left + 1] for i in (0, 1)]
    return (1 - v) * rows[0] + v * rows[1]


def aligned(image, box, side):
    """The mean label of each cell of a box (x0, y0, x1, y1 in pixels), as many points in it as cells of the map."""
    label_map = torch.zeros(K, S, S)
    for place in itertools.product(range(5), range(S), range(S)):
        value, number = (kept()[image, layer][place] for layer in (0, 1))
        label_map[int(number), place[1], place[2]] = value
    x0, y0, x1, y1 = (edge * S / SIZE - 0.5 for edge in box)
    height, width = (max(y1 - y0, 1) / side, max(x1 - x0, 1) / side)
    rows, columns = math.ceil(height), math.ceil(width)
    found = torch.zeros(K, side, side)
    for i, j, p, q in itertools.product(range(side), range(side), range(rows), range(columns)):
        found[:, i, j] += at(label_map, y0 + (i + (p + 0.5) / rows) * height, x0 + (j + (q + 0.5) / columns) * width)
    return found / (rows * columns)


BOXES = [(0, 0, 24, 24), (3, 5, 17, 22), (10.5, 1, 14.5, 20)]


@pytest.mark.parametrize("side", [3, 6, 8])
def test_targets_are_those_of_the_box(side):
    targets = TokenLabels(batch(*(window(*box) for box in BOXES)), K)
    patches = torch.stack([aligned(image, box, side).softmax(0).flatten(1).T for image, box in enumerate(BOXES)])
    torch.testing.assert_close(targets.of_patches(side), patches, rtol=1e-4, atol=1e-5)
    whole = torch.stack([aligned(image, box, 1).softmax(0).flatten() for image, box in enumerate(BOXES)])
    torch.testing.assert_close(targets.of_image(), whole, rtol=1e-4, atol=1e-5)


def test_mirrored_and_turned_images():
    """Patches are where the image has them; the class token's target does not change."""
    quarter = [[0.0, 1.0, 0.0], [-1.0, 0.0, SIZE], [0.0, 0.0, 1.0]]  # the point (x, y) comes to (y, SIZE - x)
    plain = TokenLabels(batch(window(0, 0, 24, 24), window(3, 5, 17, 22), window(0, 0, 24, 24)), K)
    moved = TokenLabels(batch(window(0, 0, 24, 24, True), window(3, 5, 17, 22, True), quarter), K)
    grids = [targets.of_patches(6).unflatten(1, (6, 6)) for targets in (plain, moved)]
    torch.testing.assert_close(grids[1][:2], grids[0][:2].flip(2), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(grids[1][2], grids[0][2].transpose(0, 1).flip(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(moved.of_image(), plain.of_image(), rtol=1e-4, atol=1e-5)


def test_beyond_the_square_nothing_is_known():
    targets = TokenLabels(batch(*[window(-48, 0, 24, 24)] * 3), K)
    assert torch.allclose(targets.of_patches(6).unflatten(1, (6, 6))[:, :, :3], torch.tensor(1 / K))


def test_the_truth_beside_the_teacher():
    views = [window(*box) for box in BOXES]
    taught = TokenLabels(batch(*views), K).of_image()
    truth = torch.tensor([int(taught[0].argmax()), (int(taught[1].argmax()) + 1) % K, int(taught[2].argmax())])
    both = TokenLabels(batch(*views, dense_truth=truth), K).of_image()
    for image, share in enumerate((0.5, 0.9, 0.5)):
        wanted = share * taught[image]
        wanted[truth[image]] += 1 - share
        torch.testing.assert_close(both[image], wanted)


@pytest.mark.parametrize("mix_token", [False, True])
def test_a_training_step_learns_both(mix_token):
    torch.manual_seed(0)
    net = lv_vit(num_classes=K, in_chans=1, image_size=SIZE, patch_size=4, embed_dim=16, depth=2, num_heads=2,
                 drop_path_rate=0.0, token_weight=0.25, mix_token=mix_token).train()  # fmt: skip
    task = Classifier(model=net, loss=CrossEntropy(), optimizer=lambda net: torch.optim.SGD(net.parameters(), lr=1.0),
                      scheduler=None, num_classes=K, seed=0)  # fmt: skip
    given, said = batch(*(window(*box) for box in BOXES)), []
    net.register_forward_hook(lambda *call: said.append(call[2]))
    given["image"] = torch.randn(3, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    terms, hits = task.training_terms(given, 0.0)
    targets = TokenLabels(given, K)
    a = net.mixed_share
    image = (1 - a) * targets.of_image() + a * targets.of_image()[[2, 1, 0]]
    torch.testing.assert_close(terms["cross_entropy"], -(image * said[0].log_softmax(1)).sum(1).mean())
    patches = net.auxiliary_logits["patches"][1].log_softmax(2)
    torch.testing.assert_close(terms["patches"], -0.25 * (targets.of_patches(6) * patches).sum(2).mean())
    assert hits["acc1"].tolist() == (said[0].argmax(1) == image.argmax(1)).tolist()
    sum(terms.values()).backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    task.eval()
    assert task.targets(given) is given["label"]
