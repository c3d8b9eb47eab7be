import logging
import pickle
import random
import warnings
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image

from tests.config_files import loaded
from zoomexp.datasets.image_files import FileSplits, ImageFiles
from zoomexp.datasets.stream import StreamDataModule
from zoomexp.errors import InputError

CONFIGS = Path(__file__).parents[2] / "configs" / "dataset"
SIDE, MEAN, STD = 16, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
SMALL = {"batch_size": 8, "eval_batch_size": 7, "mean": MEAN, "std": STD, "image_size": SIDE}


class Toy(StreamDataModule):
    """Images of one colour: red tells the split (train 50, test 200), green the position in it, and a white box."""

    name = "toy"

    def read(self):
        return FileSplits(self.split("train", 60, 50), None, self.split("test", 24, 200), ("a", "b", "c"))

    def split(self, name, count, red):
        root = self.data_dir / name
        if not root.exists():
            root.mkdir(parents=True)
            for i in range(count):
                pixels = np.full((24, 36, 3), (red, 2 * i, 0), np.uint8)
                pixels[6:16, 9:21] = 255
                Image.fromarray(pixels).save(root / f"{i}.png")
        paths = np.array([f"{i}.png".encode() for i in range(count)])
        boxes = np.tile(np.float32([9, 6, 21, 16]), (count, 1))
        parts = np.tile(np.float32([[15, 11, 1], [20, 15, 0]]), (count, 1, 1))
        return ImageFiles(root, paths, np.arange(count) % 3, boxes, parts)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("toy")


def ready(folder, **options):
    data = Toy(data_dir=folder, **{**SMALL, **options})
    data.prepare_data()
    data.setup("fit")
    return data


def epoch_of(loader, epoch=0):
    loader.sampler.set_epoch(epoch)
    batches = list(loader)
    return {key: torch.cat([batch[key] for batch in batches]) for key in batches[0]}


def by_index(epoch):
    order = epoch["index"].argsort()
    return {key: value[order] for key, value in epoch.items()}


def red(loader):
    pixels = epoch_of(loader)["image"][:, 0, 0, 0] * STD[0] + MEAN[0]
    return sorted({round(255 * value) for value in pixels.tolist()})


def test_batches_are_as_documented(folder):
    data = ready(folder)
    assert (data.num_classes, data.channels, data.image_size, data.has_boxes) == (3, 3, SIDE, True)
    assert {part: len(files) for part, files in data._parts.items()} == {"train": 54, "val": 6, "test": 24}
    for loader in (data.train_dataloader(), data.test_dataloader()):
        batch = next(iter(loader))
        count = len(batch["label"])
        assert batch["image"].shape == (count, 3, SIDE, SIDE) and batch["image"].dtype == torch.float32
        assert batch["image"].is_contiguous(memory_format=torch.channels_last)
        assert batch["label"].dtype == batch["index"].dtype == torch.int64
        assert batch["box"].shape == (count, 4) and batch["parts"].shape == (count, 2, 3)
        assert batch["box"].dtype == batch["parts"].dtype == torch.float32
    assert len(data.train_dataloader()) == 6 and len(data.test_dataloader()) == 4


def test_test_images_are_normalised_and_their_boxes_exact(folder):
    epoch = epoch_of(ready(folder, crop_pct=1.0).test_dataloader())
    assert epoch["index"].tolist() == list(range(24)) and epoch["label"].tolist() == [i % 3 for i in range(24)]
    colour = torch.tensor([[200, 2 * i, 0] for i in range(24)]) / 255
    expected = (colour - torch.tensor(MEAN)) / torch.tensor(STD)
    torch.testing.assert_close(epoch["image"][:, :, 0, 0], expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(epoch["box"], torch.tensor([[2.0, 4, 10, 32 / 3]]).expand(24, 4))  # 24 x 36 -> 16 x 24
    part = [[6.0, 22 / 3, 1], [0, 0, 0]]
    torch.testing.assert_close(epoch["parts"], torch.tensor([part]).expand(24, 2, 3))


def test_validation_never_sees_the_test_split_unless_the_protocol_says_so(folder):
    data = ready(folder)
    assert red(data.train_dataloader()) != [200] and red(data.val_dataloader()) == [50]
    assert red(data.test_dataloader()) == [200]
    train, val = (set(data._parts[part].index.tolist()) for part in ("train", "val"))
    assert not train & val and train | val == set(range(60))
    paper = ready(folder, validate_on="test")
    assert red(paper.val_dataloader()) == [200] and len(paper._parts["train"]) == 60
    assert ready(folder, val_fraction=0).val_dataloader() == []


def test_shortened(folder):
    data = ready(folder, train_size=27, test_size=9)
    assert {part: len(files) for part, files in data._parts.items()} == {"train": 27, "val": 3, "test": 9}


@pytest.mark.parametrize("augment", ["basic", "randaugment", "three_augment"])
def test_an_images_augmentation_depends_on_seed_epoch_and_index_only(folder, augment):
    data = ready(folder, augment=augment)
    first = epoch_of(data.train_dataloader(), 1)
    again = epoch_of(data.train_dataloader(), 1)
    assert all(torch.equal(first[key], again[key]) for key in first)
    small = by_index(epoch_of(ready(folder, augment=augment, batch_size=6).train_dataloader(), 1))
    rows = first["index"].argsort()
    kept = torch.isin(small["index"], first["index"])
    assert torch.equal(first["image"][rows], small["image"][kept])
    for other in (epoch_of(data.train_dataloader(), 2), epoch_of(ready(folder, seed=1).train_dataloader(), 1)):
        assert not torch.equal(first["index"], other["index"])
        assert not torch.equal(by_index(first)["image"][:20], by_index(other)["image"][:20])


def test_workers_change_nothing(folder):
    options = {"augment": "three_augment", "erasing": 0.5, "repeats": 3}
    data = ready(folder, **options)
    alone = [epoch_of(data.train_dataloader(), epoch) for epoch in (0, 1)]
    loader = ready(folder, num_workers=2, **options).train_dataloader()
    for epoch in (0, 1):  # the workers live on between the epochs
        shared = epoch_of(loader, epoch)
        assert all(torch.equal(shared[key], alone[epoch][key]) for key in shared)
        assert shared["image"].is_contiguous(memory_format=torch.channels_last)


def test_the_loader_can_be_sent_to_workers_that_are_not_forked(folder):
    data = ready(folder, augment="randaugment")
    images = pickle.loads(pickle.dumps(data.train_dataloader().dataset))
    assert torch.equal(images[[(0, 3)]]["image"], data.train_dataloader().dataset[[(0, 3)]]["image"])


def test_global_randomness_is_left_alone(folder):
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    epoch_of(ready(folder, augment="randaugment").train_dataloader())
    assert torch.equal(states[0], torch.get_rng_state()) and np.array_equal(states[1], np.random.get_state()[1])
    assert states[2] == random.getstate()


def test_none_means_no_augmentation(folder):
    data = ready(folder, augment="none")
    assert torch.equal(
        *(by_index(epoch_of(data.train_dataloader(), e))["image"][:, :, 0, 0].unique(dim=0)[:1] for e in (0, 1))
    )
    boxes = epoch_of(data.train_dataloader())["box"]
    assert torch.equal(boxes, boxes[:1].expand_as(boxes))


def test_central_is_the_test_view_mirrored_half_the_time(folder):
    plain = by_index(epoch_of(ready(folder, augment="none").train_dataloader()))
    data = ready(folder, augment="central")
    data.views = True
    seen, mirror = by_index(epoch_of(data.train_dataloader())), torch.tensor([[-1.0, 0, SIDE], [0, 1, 0], [0, 0, 1]])
    flipped = (seen["image"] != plain["image"]).flatten(1).any(1)
    assert 10 < flipped.sum() < 44
    expected = torch.where(flipped[:, None, None, None], plain["image"].flip(3), plain["image"])
    assert torch.equal(seen["image"], expected)
    views = torch.where(flipped[:, None, None], mirror, torch.eye(3))
    torch.testing.assert_close(seen["view"], views, rtol=0, atol=1e-5)
    still = ready(folder, augment="central", flip=False)
    assert torch.equal(by_index(epoch_of(still.train_dataloader()))["image"], plain["image"])


def test_copies_of_an_image_are_augmented_each_in_its_own_way(folder):
    options = {"batch_size": 9, "train_scale": (0.5, 1)}
    epoch = epoch_of(ready(folder, repeats=3, **options).train_dataloader(), 1)
    assert epoch["index"].unique().tolist() == sorted(epoch["index"][::3].tolist())
    assert all(len(copies.flatten(1).unique(dim=0)) == 3 for copies in epoch["image"].split(3))
    once = by_index(epoch_of(ready(folder, **options).train_dataloader(), 3))  # the draw of the first copies
    rows = torch.isin(once["index"], epoch["index"])
    first = by_index({key: value[::3] for key, value in epoch.items()})
    assert torch.equal(once["image"][rows], first["image"])


def test_a_share_of_the_training_images_has_a_rectangle_of_noise(folder):
    plain = by_index(epoch_of(ready(folder, batch_size=9).train_dataloader(), 1))
    data = ready(folder, erasing=0.5, batch_size=9)
    erased = by_index(epoch_of(data.train_dataloader(), 1))
    assert torch.equal(plain["box"], erased["box"]) and erased["image"].shape == plain["image"].shape
    values, changed = [], 0
    for before, after in zip(plain["image"], erased["image"], strict=True):
        rows, columns = torch.where((before != after).any(0))
        if len(rows) == 0:
            continue
        height, width = rows.max() - rows.min() + 1, columns.max() - columns.min() + 1
        assert len(rows) == height * width and 0.01 < len(rows) / SIDE**2 < 0.36
        values.append(after[:, rows, columns].flatten())
        changed += 1
    assert 16 <= changed <= 38  # of 54
    noise = torch.cat(values)
    assert abs(noise.mean()) < 0.05 and abs(noise.std() - 1) < 0.05
    assert torch.equal(*(epoch_of(one.test_dataloader())["image"] for one in (data, ready(folder))))


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_cannot_be_read_is_one_line(tmp_path, workers):
    data = ready(tmp_path, num_workers=workers)
    path = tmp_path / "test" / "20.png"
    path.write_bytes(path.read_bytes()[:90])
    with pytest.raises(InputError) as error:
        list(data.test_dataloader())
    assert str(error.value).startswith(f"{path} cannot be read as an image") and "\n" not in str(error.value)


@pytest.mark.parametrize("change", ["missing", "empty", "text"])
def test_an_image_that_is_none_is_found_before_training(tmp_path, change):
    ready(tmp_path)
    path = tmp_path / "train" / "31.png"
    path.unlink() if change == "missing" else path.write_text("text" * (change == "text"))
    with pytest.raises(InputError) as error:
        ready(tmp_path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA", "CMYK"])
def test_every_kind_of_image_becomes_colour(tmp_path, mode):
    data = ready(tmp_path)
    grey = Image.new("L", (20, 30), 255).convert(mode)
    path = tmp_path / "test" / "0.png"
    grey.save(path, format="TIFF" if mode == "CMYK" else "PNG", **({"transparency": b"\x10"} if mode == "P" else {}))
    image = next(iter(data.test_dataloader()))["image"][0]
    torch.testing.assert_close(image[:, 8, 8], (1 - torch.tensor(MEAN)) / torch.tensor(STD), rtol=0, atol=0.02)


def test_values_of_no_known_range_are_refused_while_the_set_is_read(tmp_path):
    ready(tmp_path)
    Image.fromarray(np.full((30, 20), 0.5, np.float32)).save(tmp_path / "test" / "0.png", format="TIFF")
    with pytest.raises(InputError, match=r"0.png has 32-bit values \(F\), whose range is not known; convert it"):
        ready(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "dataset.batch_size=0 must be a whole number, at least 1"),
        ({"num_workers": -1}, "dataset.num_workers=-1"),
        ({"image_size": 4}, "dataset.image_size=4 must be a whole number, at least 8"),
        ({"augment": "all"}, "dataset.augment='all' must be one of basic, randaugment, three_augment, central, none"),
        ({"erasing": 1.5}, "dataset.erasing=1.5 must be a number in [0, 1]"),
        ({"repeats": 0}, "dataset.repeats=0 must be a whole number, at least 1"),
        ({"train_scale": [0, 1]}, "dataset.train_scale=[0.0, 1.0]"),
        ({"train_scale": [0.5]}, "dataset.train_scale=[0.5]"),
        ({"crop_pct": 0}, "dataset.crop_pct=0 must be a number in (0, 1]"),
        ({"mean": [0.5]}, "dataset.mean=[0.5] must be three values"),
        ({"std": [1, 1, 0]}, "dataset.std[2]=0 must be a finite number above 0"),
        ({"val_fraction": 1}, "dataset.val_fraction=1 must be a number in [0, 1)"),
        ({"validate_on": "train"}, "dataset.validate_on=train is unknown"),
        ({"batch_size": 55}, "dataset.batch_size=55 is larger than the 54 training images; at most 54"),
        ({"train_size": 55}, "dataset.train_size=55 is more images than there are; at most 54"),
    ],
)
def test_bad_values_are_one_line(folder, options, message):
    with pytest.raises(InputError) as error:
        ready(folder, **options).train_dataloader()
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


class Recorder(pl.LightningModule):
    """Learns nothing to speak of; keeps what it saw."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.seen = []

    def training_step(self, batch, _):
        self.seen.append((self.current_epoch, batch["index"].tolist(), float(batch["image"].sum())))
        return self.layer(batch["image"].mean((1, 2, 3))[:, None]).mean()

    def validation_step(self, batch, _):
        assert batch["box"].shape[1] == 4

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(folder, data, epochs, ckpt_path=None):
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(accelerator="cpu", max_epochs=epochs, default_root_dir=folder, **quiet)
    model = Recorder()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        trainer.fit(model, data, ckpt_path=ckpt_path)
    trainer.save_checkpoint(folder / "last.ckpt")
    return model.seen


def test_a_resumed_run_goes_on_as_an_uninterrupted_one(folder, tmp_path):
    whole = fit(tmp_path, ready(folder), 3)
    first = fit(tmp_path, ready(folder), 1)
    rest = fit(tmp_path, ready(folder, num_workers=1), 3, ckpt_path=tmp_path / "last.ckpt")
    assert first + rest == whole and whole[0][1] != whole[6][1]


@pytest.mark.parametrize("name", ["cub200", "image_folder", "imagenet"])
def test_the_default_side_is_224(name):
    surroundings = {"data_dir": "nowhere", "seed": 3, "backbone": {"image_size": None}}
    dataset = OmegaConf.create({**surroundings, "dataset": loaded(CONFIGS / f"{name}.yaml")}).dataset
    assert instantiate(dataset).image_size == 224
