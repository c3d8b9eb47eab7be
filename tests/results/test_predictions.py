"""Predictions: by index, ragged where images have several objects, and old files understood."""

import numpy as np
import pytest

from zoomexp.results.predictions import Predictions, save_predictions


def test_images_are_saved_in_the_order_of_their_index_and_objects_stay_with_their_image(tmp_path):
    given = {
        "index": np.array([2, 0, 1]),
        "score": np.array([0.2, 0.0, 0.1]),
        "hit": np.array([20, 21, 10, 11, 12]),  # two objects of image 2, none of 0, three of 1
        "hit.lengths": np.array([2, 0, 3]),
    }
    save_predictions(given, tmp_path)
    stored = Predictions(tmp_path / "predictions.npz")
    assert {name: values.tolist() for name, values in stored.items()} == {
        "index": [0, 1, 2], "score": [0.0, 0.1, 0.2], "hit": [10, 11, 12, 20, 21], "hit.lengths": [0, 3, 2],
    }  # fmt: skip
    assert stored.images == 3
    assert stored.drawn(np.array([2, 2, 0]))["hit"].tolist() == [20, 21, 20, 21]


def test_boxes_are_drawn_row_by_row():
    generator = np.random.default_rng(0)
    lengths = generator.integers(0, 4, 20)
    objects = [generator.random((count, 4)) for count in lengths]
    kept = Predictions({"box": np.concatenate(objects), "box.lengths": lengths})
    images = generator.integers(20, size=50)
    np.testing.assert_array_equal(kept.drawn(images)["box"], np.concatenate([objects[image] for image in images]))


@pytest.mark.parametrize("content", [None, b"PK\x03\x04 cut short", b""])
def test_no_file_or_a_broken_one_holds_nothing(tmp_path, content):
    if content is not None:
        (tmp_path / "predictions.npz").write_bytes(content)
    kept = Predictions(tmp_path / "predictions.npz")
    assert (dict(kept), kept.images) == ({}, 0)


def test_a_file_from_before_outcomes_were_kept_has_the_accuracys(tmp_path):
    np.savez(tmp_path / "predictions.npz", index=np.arange(3), label=np.array([1, 2, 3]), top1=np.array([1, 0, 3]))
    assert Predictions(tmp_path / "predictions.npz")["acc1"].tolist() == [True, False, True]
