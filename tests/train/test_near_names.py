"""Misspelt names are answered with what may have been meant, and what is wrong is said before what follows from it."""

import re

import pytest


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("atention=loupe", "error: atention: no such option; allowed: .*; did you mean attention"),
        ("attention.reductoin=4", "error: attention.reductoin: no such option; allowed: .*; did you mean reduction"),
        ("attention=lupe", "error: .*attention/lupe.*; did you mean loupe"),
        ("experiment=loupe/cub20", "error: experiment/loupe/cub20: no such choice; .*; did you mean cub200"),
    ],
)
def test_a_like_name_is_proposed(train, typed, said):
    ended = train(typed)
    assert ended.code == 2 and len(ended.err.strip().splitlines()) == 1
    assert re.search(said, ended.err)


def test_zoomvit_on_a_host_that_is_no_transformer_says_so(train):
    ended = train("tokens=zoomvit", "backbone=resnet20")
    assert ended.code == 2
    wanted = "error: tokens: the backbone must be a VisionTransformer of timm (deit, deit3, vit), got ResNet20"
    assert ended.err.strip() == wanted
