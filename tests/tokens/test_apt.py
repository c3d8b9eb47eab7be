"""APT against its equations, patch by patch, one image at a time."""

import math
from collections import Counter

import pytest
import torch
from timm.layers import resample_abs_pos_embed
from torch.nn import functional as F

from zoomexp.errors import InputError
from zoomexp.tokens.apt import APT, chosen, entropy
from zoomexp.tokens.host import encode, read_out
from zoomexp.tokens.ragged import Ragged

MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.3, 0.25]
OPTIONS = {2: {"scales": 2, "thresholds": 4.5}, 3: {"scales": 3, "thresholds": [4.5, 5.5]}}


@pytest.fixture
def four_images():
    """Normalised images of 64 pixels, parts of which are flat."""
    rng = torch.Generator().manual_seed(3)
    pixels = torch.randint(0, 256, (4, 3, 64, 64), generator=rng).float()
    pixels[0, :, :32] = 90.0
    pixels[1, :, 8:40, 16:48] = 10.0
    pixels[2] = 7.0
    pixels[3, :, ::2] = pixels[3, :, :1, :1]
    return (pixels / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def adapted(vit, scales, **options):
    torch.manual_seed(0)
    net = APT(vit, image_size=64, mean=MEAN, std=STD, **OPTIONS[scales], **options).eval()
    if net.zero is not None:
        torch.nn.init.normal_(net.zero.weight, std=0.1)
        torch.nn.init.normal_(net.zero.bias, std=0.1)
    return net


def bits(pixels):
    """Entropy of a patch (3, h, h) in 0..255."""
    grey = 0.2989 * pixels[0] + 0.5870 * pixels[1] + 0.1140 * pixels[2]
    counts = Counter(min(int(value * 512 / 256), 511) for value in grey.flatten().tolist())
    return -sum(n / grey.numel() * math.log2(n / grey.numel()) for n in counts.values())


def cut(pixels, row, column, size, limits):
    """(row, column, size) in pixels of the tokens of one patch."""
    if size == 8 or bits(pixels[:, row : row + size, column : column + size]) < limits[size]:
        return [(row, column, size)]
    half = size // 2
    return [one for r in (0, half) for c in (0, half) for one in cut(pixels, row + r, column + c, half, limits)]


def written_out(net, image):
    """The tokens (N, D) of one image, prefix first."""
    vit, largest = net.vit, 8 * 2 ** (net.scales - 1)
    pixels = ((image * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]) * 255).clamp(0, 255)
    limits = {8 * 2 ** (i + 1): limit for i, limit in enumerate(net.thresholds)}
    places = [
        one for r in range(0, 64, largest) for c in range(0, 64, largest) for one in cut(pixels, r, c, largest, limits)
    ]
    tokens = [vit.cls_token[0, 0] + vit.pos_embed[0, 0]]
    for row, column, size in sorted(places, key=lambda one: (one[2], one[0], one[1])):
        patch, times = image[None, :, row : row + size, column : column + size], size // 8
        shown = F.interpolate(patch, size=(8, 8), mode="bilinear") if times > 1 else patch
        x = vit.patch_embed.proj(shown).flatten()
        if times > 1 and net.join is not None:
            grid = vit.patch_embed.proj(patch)
            while grid.shape[-1] > 1:
                grid = net.join(grid)
            x = x + net.zero(grid.flatten())
        table = resample_abs_pos_embed(vit.pos_embed, [64 // size, 64 // size], num_prefix_tokens=1)[0, 1:]
        tokens.append(x + table[row // size * (64 // size) + column // size])
    return torch.stack(tokens)


@pytest.mark.parametrize("embedding", ["conv", "resize"])
@pytest.mark.parametrize("scales", [2, 3])
def test_tokens_and_logits_are_those_of_the_equations(small_vit, four_images, scales, embedding):
    net = adapted(small_vit(img_size=64), scales, embedding=embedding)
    with torch.no_grad():
        logits = net(four_images)
        lengths = net.lengths.tolist()
        for image, row, length in zip(four_images, logits, lengths, strict=True):
            tokens = written_out(net, image)
            torch.testing.assert_close(net.tokenize(image[None])[0].values, tokens, rtol=1e-4, atol=1e-5)
            assert len(tokens) == length
            alone = read_out(net.vit, encode(net.vit, Ragged.from_dense(tokens[None])))[0]
            torch.testing.assert_close(row, alone, rtol=1e-4, atol=1e-5)
    assert len(set(lengths)) > 2  # images of different numbers of tokens


@pytest.mark.parametrize("scales", [2, 3])
def test_the_patches_cover_each_image_once(small_vit, four_images, scales):
    net = adapted(small_vit(img_size=64), scales)
    net(four_images)
    cover = sum(a.repeat_interleave(2**i, 1).repeat_interleave(2**i, 2).int() for i, a in enumerate(net.areas))
    assert (cover == 1).all()
    assert torch.equal(net.lengths, 1 + sum(area.sum((1, 2)) for area in net.areas))
    torch.testing.assert_close(net.scores.sum((1, 2)), (net.lengths - 1).float())
    assert net.lengths[2] == 1 + (64 // (8 * 2 ** (scales - 1))) ** 2  # flat


def test_no_threshold_is_the_plain_host(small_vit, four_images):
    vit = small_vit(img_size=64)
    with torch.no_grad():
        torch.testing.assert_close(APT(vit, image_size=64, thresholds=0.0)(four_images), vit(four_images))


def test_it_starts_as_resizing(small_vit, four_images):
    vit = small_vit(img_size=64)
    make = {"image_size": 64, "mean": MEAN, "std": STD, **OPTIONS[3]}
    with torch.no_grad():
        assert torch.equal(APT(vit, **make)(four_images), APT(vit, embedding="resize", **make)(four_images))


def test_parameters_and_gradients(small_vit, four_images):
    net = adapted(small_vit(img_size=64), 3).train()
    added = [parameter for name, parameter in net.named_parameters() if not name.startswith("vit.")]
    assert sum(parameter.numel() for parameter in added) == 5 * 48**2 + 2 * 48
    net(four_images).sin().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in net.parameters())


def test_an_average_counts_patches(small_vit, four_images):
    net = adapted(small_vit(img_size=64, global_pool="avg", class_token=False), 2)
    with torch.no_grad():
        tokens, sizes = net.tokenize(four_images[:1])
        x = encode(net.vit, tokens).values
        mean = (x * sizes[:, None]).sum(0) / 64
        expected = net.vit.head(net.vit.fc_norm(mean))
        assert sizes.sum() == 64 and set(sizes.tolist()) == {1.0, 4.0}
        torch.testing.assert_close(net(four_images[:1])[0], expected, rtol=1e-4, atol=1e-5)


def test_entropy_and_choice_by_hand():
    pixels = torch.zeros(1, 1, 4, 4)
    pixels[0, 0, :2, :2] = torch.tensor([[0.0, 60.0], [120.0, 180.0]])
    torch.testing.assert_close(entropy(pixels, 2), torch.tensor([[[2.0, 0.0], [0.0, 0.0]]]), rtol=0, atol=1e-6)
    areas = chosen([torch.tensor([[[2.0, 0.0], [0.0, 0.0]]])], [2.0], 4)  # 2 is not below 2
    assert areas[1].tolist() == [[[False, True], [True, True]]]
    assert areas[0].nonzero()[:, 1:].tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scales": 1}, r"^tokens\.scales=1 must be a whole number in 2\.\.4"),
        ({"thresholds": [1.0, 2.0]}, r"^tokens\.thresholds must be one number or a list of scales - 1 = 1, got 2"),
        ({"thresholds": -1.0}, r"^tokens\.thresholds=-1\.0 must be a finite number, at least 0"),
        ({"embedding": "none"}, r"^tokens\.embedding='none' must be one of conv, resize"),
        ({"scales": 4, "image_size": 96}, r"^tokens\.scales=4 needs images of a multiple of 64 pixels, got 96$"),
        ({"mean": 0.5}, r"^tokens\.mean=0\.5 must be a list of numbers"),
    ],
)
def test_refusals(small_vit, options, message):
    with pytest.raises(InputError, match=message):
        APT(small_vit(img_size=64), **({"image_size": 64} | options))
