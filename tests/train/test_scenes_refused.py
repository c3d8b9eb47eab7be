"""Sets whose images have several objects, and losses of boxes: what cannot use them says so in one line."""

import pytest

SCENES = ("dataset=digit_scenes", "backbone=vit_digits", "attention=none", "trainer=smoke", "logger=none")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("loss=cross_entropy", "dataset.train_images=40", "dataset.test_images=9"),
            "dataset: its images have several objects and no label of their own; choose task=detection",
        ),
        (
            ("dataset=digits", "task=detection", "backbone.image_size=8", "backbone.patch_size=2"),
            "dataset: its images have no boxes; choose coco, cub200, digit_scenes or cluttered_digits",
        ),
        (
            ("dataset=digits", "loss=set_prediction"),
            "loss=SetPrediction: compares boxes, not classes; choose loss=cross_entropy",
        ),
    ],
)
def test_refused(train, words, said):
    ended = train(
        *words, base=tuple(word for word in SCENES if word.split("=")[0] not in {w.split("=")[0] for w in words})
    )
    assert ended.code == 2
    assert ended.err.splitlines()[-1] == f"error: {said}"
