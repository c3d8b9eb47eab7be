"""Sample pictures: in which epochs, of which images, in which loggers; the contact sheet of a set."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from zoomexp.callbacks.pictures import Pictures
from zoomexp.errors import InputError


class Taker:
    """A logger that takes images."""

    def __init__(self):
        self.taken = []

    def log_image(self, name, arrays, step, caption):
        self.taken.append((name, np.stack(arrays), step, caption))


@pytest.fixture
def drawn():
    return {f"maps/{site}": torch.rand(2, 3, 6, 6) for site in ("a", "b")}


def validated(callback, drawn, folder, epochs, loggers):
    """Go through epochs of validation, two batches each; of a run of which only the pictures are known."""
    task = SimpleNamespace(pictures=lambda batch, count, data: {name: one[:count] for name, one in drawn.items()})
    for epoch in range(epochs):
        for number in range(2):
            trainer = SimpleNamespace(
                loggers=loggers, is_global_zero=True, sanity_checking=False, current_epoch=epoch,
                global_step=10 * epoch, datamodule=None, default_root_dir=folder,
            )  # fmt: skip
            callback.on_validation_batch_end(trainer, task, None, {"index": torch.tensor([7, 9])}, number)


@pytest.mark.parametrize(
    ("options", "expected"), [({"every": 2}, [0, 2, 4]), ({"epochs": [1, 4, 99]}, [1, 4]), ({"epochs": []}, [])]
)
def test_the_epochs_asked_for(drawn, tmp_path, options, expected):
    taker = Taker()
    validated(Pictures(**options), drawn, tmp_path, 5, [object(), taker])
    assert [(name, step) for name, _, step, _ in taker.taken] == [
        (name, 10 * epoch) for epoch in expected for name in drawn
    ]
    for name, arrays, _, captions in taker.taken:
        np.testing.assert_array_equal(arrays, (255 * drawn[name]).round().byte().permute(0, 2, 3, 1).numpy())
        assert captions == ["image 7", "image 9"]
    assert list(tmp_path.iterdir()) == []


def test_a_contact_sheet_of_each_set(drawn, tmp_path):
    taker = Taker()
    validated(Pictures(epochs=[1, 2], sheets=True), drawn, tmp_path, 3, [taker])
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == ["epoch1.png", "epoch2.png"]
    (_, sheet, _, captions), _ = [one for one in taker.taken if one[0] == "sheets/maps"]
    np.testing.assert_array_equal(sheet[0], (255 * imread(tmp_path / "figures" / "epoch1.png")).round())
    assert captions == ["epoch 1"]


def test_a_sheet_is_written_without_a_logger_that_takes_it(drawn, tmp_path):
    validated(Pictures(sheets=True), drawn, tmp_path, 1, [object()])
    assert imread(tmp_path / "figures" / "epoch0.png").ndim == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [({"epochs": 3}, "callbacks.pictures.epochs=3 must be a list"), ({"sheets": "yes"}, "callbacks.pictures.sheets")],
)
def test_bad_input(options, message):
    with pytest.raises(InputError, match=message):
        Pictures(**options)
