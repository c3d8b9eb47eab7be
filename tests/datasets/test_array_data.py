import logging
import warnings

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from zoomexp.datasets.array_data import ArrayDataModule
from zoomexp.datasets.arrays import ImageArrays, Splits
from zoomexp.errors import InputError


class Toy(ArrayDataModule):
    """Pixels tell the split (train: below 100, test: above 200) and the position in it."""

    name = "toy"
    reads = 0

    def read(self):
        self.reads += 1
        return Splits(self.split(200, 1), self.split(60, 201), ("a", "b", "c", "d"))

    def split(self, count, first):
        images = np.full((count, 6, 6, 1), first, np.uint8) + (np.arange(count) % 50)[:, None, None, None]
        return ImageArrays(images.astype(np.uint8), np.arange(count) % 4)


def toy(**options):
    return Toy(**{"data_dir": "nowhere", "batch_size": 16, "mean": [0], "std": [1], **options})


def ready(**options):
    data = toy(**options)
    data.prepare_data()
    data.setup("fit")
    return data


def indices(loader):
    return sorted(int(i) for batch in loader for i in batch["index"])


def brightest(loader):
    return max(float(batch["image"].max()) * 255 for batch in loader)


def test_parts_and_properties():
    data = ready(val_fraction=0.2)
    data.setup("test")
    assert data.reads == 1
    assert (data.num_classes, data.channels, data.image_size, data.has_boxes) == (4, 1, 6, False)
    assert data.classes == ("a", "b", "c", "d")
    train, val, test = (data._parts[part] for part in ("train", "val", "test"))
    assert sorted([*train.index, *val.index]) == list(range(200)) and list(test.index) == list(range(60))
    assert np.bincount(val.labels).tolist() == [10] * 4
    assert indices(data.val_dataloader()) == val.index.tolist()
    assert set(indices(data.train_dataloader())) <= set(train.index.tolist())
    assert len(data.train_dataloader()) == 10


def test_validation_never_sees_the_test_split():
    assert brightest(ready().val_dataloader()) < 100 and brightest(ready().train_dataloader()) < 100
    assert brightest(ready().test_dataloader()) > 200


def test_the_papers_protocol_validates_on_test():
    data = ready(validate_on="test")
    assert len(data._parts["train"]) == 200 and indices(data.val_dataloader()) == list(range(60))
    assert brightest(data.val_dataloader()) > 200


def test_no_validation():
    data = ready(val_fraction=0)
    assert data.val_dataloader() == [] and len(data._parts["train"]) == 200


def test_shortened_runs():
    data = ready(train_size=90, test_size=20, val_fraction=0.1)
    sizes = {part: len(arrays) for part, arrays in data._parts.items()}
    assert sizes == {"train": 90, "val": 10, "test": 20}
    assert not set(data._parts["train"].index) & set(data._parts["val"].index)
    again = ready(train_size=90, test_size=20, val_fraction=0.1, seed=7)
    np.testing.assert_array_equal(data._parts["test"].index, again._parts["test"].index)
    other = ready(train_size=90, test_size=20, val_fraction=0.1, split_seed=7)
    assert set(data._parts["test"].index) != set(other._parts["test"].index)


def test_only_training_images_are_augmented():
    data = ready(crop_padding=2, flip=True, pad=1)
    plain = torch.cat([batch["image"] for batch in data.test_dataloader()])
    expected = torch.nn.functional.pad(torch.from_numpy(data.read().test.images[..., 0] / 255.0), (1, 1, 1, 1))[:, None]
    torch.testing.assert_close(plain, expected.float(), rtol=0, atol=1e-6)
    assert data.image_size == 8
    train, val = next(iter(data.train_dataloader()))["image"], next(iter(data.val_dataloader()))["image"]
    assert train.shape[2:] == val.shape[2:] == (8, 8)
    assert len(torch.unique((train > 0).flatten(1), dim=0)) > 3 and len(torch.unique((val > 0).flatten(1), dim=0)) == 1


def test_a_papers_crop_larger_than_the_test_image():
    data = ready(crop_padding=2, crop_size=8)
    assert next(iter(data.train_dataloader()))["image"].shape[2:] == (8, 8) and data.image_size == 8
    assert next(iter(data.test_dataloader()))["image"].shape[2:] == (6, 6)


def test_image_size():
    data = ready(image_size=9)
    loaders = (data.train_dataloader(), data.val_dataloader(), data.test_dataloader())
    assert {next(iter(loader))["image"].shape[2:] for loader in loaders} == {(9, 9)} and data.image_size == 9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "dataset.batch_size=0 must be a whole number, at least 1"),
        ({"batch_size": 1.5}, "dataset.batch_size=1.5"),
        ({"eval_batch_size": "x"}, "dataset.eval_batch_size='x'"),
        ({"image_size": -1}, "dataset.image_size=-1"),
        ({"crop_padding": -1}, "dataset.crop_padding=-1"),
        ({"seed": -1}, "dataset.seed=-1"),
        ({"train_size": True}, "dataset.train_size=True"),
        ({"val_fraction": 1.0}, "dataset.val_fraction=1.0 must be a number in [0, 1)"),
        ({"val_fraction": -0.1}, "dataset.val_fraction=-0.1 must be a number in [0, 1)"),
        ({"val_fraction": 0.001}, "dataset.val_fraction=0.001 of 200"),
        ({"validate_on": "train"}, "dataset.validate_on=train is unknown; heldout or test"),
        ({"std": [0]}, "dataset.std[0]=0 must be a finite number above 0"),
        ({"mean": [0, 0, 0]}, "dataset.mean has 3 values"),
        ({"batch_size": 512}, "dataset.batch_size=512 is larger than the 180 training images; at most 180"),
        ({"train_size": 181}, "dataset.train_size=181 is more images than there are; at most 180"),
        ({"test_size": 61}, "dataset.test_size=61 is more"),
        ({"crop_size": 7}, "dataset.crop_size=7 is larger than the padded image; at most 6"),
    ],
)
def test_bad_values_are_one_line(options, message):
    with pytest.raises(InputError) as error:
        ready(**options).train_dataloader()
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


class Recorder(pl.LightningModule):
    """Learns nothing to speak of; keeps the order in which it saw the training images."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.seen, self.validated = [], []

    def training_step(self, batch, _):
        self.seen.append((self.current_epoch, batch["index"].tolist()))
        return self.layer(batch["image"].mean((2, 3))).mean()

    def validation_step(self, batch, _):
        self.validated.append(batch["index"].tolist())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(folder, epochs, ckpt_path=None, **options):
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(accelerator="cpu", max_epochs=epochs, default_root_dir=folder, **quiet)
    model = Recorder()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(model, toy(**options), ckpt_path=ckpt_path)
    trainer.save_checkpoint(folder / "last.ckpt")
    return model


def test_the_trainer_sets_the_epoch_and_a_resumed_run_goes_on_as_an_uninterrupted_one(tmp_path):
    whole = fit(tmp_path, 3)
    data = ready()
    for epoch in range(3):
        loader = data.train_dataloader()
        loader.sampler.set_epoch(epoch)
        assert [(epoch, batch["index"].tolist()) for batch in loader] == [s for s in whole.seen if s[0] == epoch]
    first = fit(tmp_path, 1)
    rest = fit(tmp_path, 3, ckpt_path=tmp_path / "last.ckpt")
    assert first.seen + rest.seen == whole.seen and len(whole.validated) == 3 + 1  # and one for the sanity check


def test_the_trainer_skips_a_validation_that_is_not_there(tmp_path):
    assert fit(tmp_path, 1, val_fraction=0).validated == []
