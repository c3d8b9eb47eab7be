"""DiffRate against its dropping and merging written out, one image at a time; files of rates."""

import json

import pytest
import torch
from torch.nn import functional as F

from zoomexp.errors import InputError
from zoomexp.tokens.diffrate import diffrate

HOSTS = {"deit": {}, "average": {"global_pool": "avg", "class_token": False}}
RATES = {"prune_kept_num": [37, 30, 30, 9], "merge_kept_num": [37, 25, 20, 9]}


def compressing(prune, merge, prefix):
    counts = []

    def step(i, x, attention, k, v, sizes):
        sizes = counts[-1] if counts else sizes
        row = (attention[:, 0] if prefix else attention.mean(1)).mean(0)
        order = [*range(prefix), *sorted(range(prefix, len(x)), key=lambda j: -row[j])][: prune[i]]
        x, sizes = x[order], sizes[order]
        groups, new = [[j] for j in range(min(merge[i], len(x)))], sizes.clone()
        for j in range(len(groups), len(x)):
            close = [float(F.cosine_similarity(x[j], x[m], 0)) for m in range(prefix, len(groups))]
            best = max(range(len(close)), key=close.__getitem__)
            groups[best + prefix].append(j)
            new[best + prefix] += sizes[j] * max(close[best], 0)
        counts.append(new[: len(groups)])
        return torch.stack([x[group].mean(0) for group in groups]), counts[-1]

    return step


@pytest.mark.parametrize("name", HOSTS)
def test_logits_are_those_of_the_equations(small_vit, plain, six_images, name, tmp_path):
    vit = small_vit(**HOSTS[name])
    (tmp_path / "rates.json").write_text(json.dumps(RATES))
    net = diffrate(vit, image_size=48, rates=str(tmp_path / "rates.json"))
    with torch.no_grad():
        actual = net(six_images)
        expected = [plain(vit, x, compressing(*RATES.values(), vit.num_prefix_tokens)) for x in six_images]
    torch.testing.assert_close(actual, torch.stack(expected), rtol=1e-4, atol=1e-4)
    assert torch.equal(diffrate(vit, image_size=48, rates=RATES)(six_images), actual)
    assert [int(lengths[0]) for lengths in [*net.tokens_per_block, net.lengths]] == [
        36 + vit.num_prefix_tokens, 36 + vit.num_prefix_tokens, 25, 20, 9,
    ]  # fmt: skip


def test_the_same_amounts_in_every_block_but_the_first(small_vit, plain, six_images):
    vit = small_vit()
    with torch.no_grad():
        net = diffrate(vit, image_size=48, prune=2, merge=3)
        step = compressing([37, 35, 30, 25], [37, 32, 27, 22], 1)
        expected = plain(vit, six_images[0], step)
        torch.testing.assert_close(net(six_images)[0], expected, rtol=1e-4, atol=1e-4)
    assert net.lengths.tolist() == [22] * 6
    assert ((net.places < 0).sum(1) == 6).all() and (net.sizes.sum(1) == 31).all()


@pytest.mark.parametrize(
    "text",
    [
        "[1]",
        "{}",
        json.dumps(RATES | {"merge_kept_num": [37, 25, 20]}),
        json.dumps(RATES | {"merge_kept_num": [37, 25, 20, 1]}),
        json.dumps(RATES | {"prune_kept_num": [37, 25.0, 20, 9]}),
    ],
)
def test_files_that_are_refused(small_vit, tmp_path, text):
    path = tmp_path / "rates.json"
    path.write_text(text)
    wanted = "prune_kept_num and merge_kept_num, each a list of 4 whole numbers of at least 2$"
    with pytest.raises(InputError, match=rf"^tokens\.rates=.*rates\.json: must hold {wanted}"):
        diffrate(small_vit(), image_size=48, rates=str(path))


@pytest.mark.parametrize("text", [None, "{"])
def test_files_that_cannot_be_read(small_vit, tmp_path, text):
    path = tmp_path / "rates.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=r"^tokens\.rates=.*: must be a JSON file: .*") as error:
        diffrate(small_vit(), image_size=48, rates=str(path))
    assert "\n" not in str(error.value)
