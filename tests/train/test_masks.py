"""A run on images with masks: its maps are scored against them."""

import numpy as np
from PIL import Image

BIRDS = ("dataset=image_folder", "dataset.image_size=16", "trainer=smoke", "dataset.batch_size=2", "logger=none",
         "dataset.val_fraction=0.25", "attention=loupe")  # fmt: skip


def test_maps_are_scored_against_masks(train, tmp_path, images_of, facts):
    images_of(tmp_path / "images", ("gull", "tern"))
    for path in (tmp_path / "images").rglob("*.png"):
        mask = tmp_path / "masks" / path.relative_to(tmp_path / "images")
        mask.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.eye(8, dtype=np.uint8)).save(mask)
    ended = train(*BIRDS, f"data_dir={tmp_path}", "dataset.masks=masks", base=())
    assert ended.code == 0, ended.err
    metrics = facts()["metrics"]
    scores = {"test/mask_hits", "test/energy_in_mask", "test/best_mask_iou", "test/mask_hits/centre_prior"}
    assert scores <= set(metrics) and "test/pointing_game" not in metrics
    assert all(0 <= metrics[name] <= 100 for name in scores)
