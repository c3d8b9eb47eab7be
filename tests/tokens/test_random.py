"""Random drops: which, and when they are drawn anew."""

import torch

from zoomexp.tokens.random import random


def dropped(net, images):
    net(images)
    return net.places < 0


def test_eval_mode_keeps_the_same_places_in_all_images_and_forwards(small_vit, six_images):
    vit = small_vit()
    options = {"image_size": 48, "keep_rate": 0.5, "locations": [1, 3]}
    net = random(vit, **options).eval()
    first = dropped(net, six_images)
    assert (first == first[0]).all() and first[0].sum() == 36 - 9 and not first[0, 0]
    assert torch.equal(dropped(net, six_images), first)
    assert torch.equal(dropped(random(vit, **options).eval(), six_images), first)
    assert not torch.equal(dropped(random(vit, seed=1, **options).eval(), six_images), first)


def test_logits_are_those_of_the_places_kept(small_vit, plain, six_images):
    vit = small_vit()
    net = random(vit, image_size=48, keep_rate=0.5, locations=[1]).eval()
    with torch.no_grad():
        actual = net(six_images)
        kept = [place for place, new in enumerate(net.places[0].tolist()) if new >= 0]
        expected = [plain(vit, x, lambda i, x, *_: x[kept] if i == 1 else x) for x in six_images]
    torch.testing.assert_close(actual, torch.stack(expected), rtol=1e-4, atol=1e-4)


def test_training_draws_for_each_image_from_the_global_generator(small_vit, six_images):
    net = random(small_vit(), image_size=48, keep_rate=0.5, locations=[1]).train()
    torch.manual_seed(0)
    first = dropped(net, six_images)
    assert len({tuple(row.tolist()) for row in first}) == 6
    assert not torch.equal(dropped(net, six_images), first)
    torch.manual_seed(0)
    assert torch.equal(dropped(net, six_images), first)


def test_every_patch_is_dropped_as_often(small_vit):
    net = random(small_vit(depth=1), image_size=48, keep_rate=0.25, locations=[0]).train()
    with torch.no_grad():
        share = dropped(net, torch.zeros(2000, 3, 48, 48))[:, 1:].float().mean(0)
    assert ((share - 0.75).abs() < 5 * (0.75 * 0.25 / 2000) ** 0.5).all()  # five standard deviations
