"""Masks of images: found by name, read as they are meant, and seen as the images are, against Pillow's own resizing."""

import numpy as np
import pytest
from PIL import Image

from tests.datasets.test_stream import SIDE, Toy, ready
from zoomexp.datasets.fingerprint import of_split
from zoomexp.datasets.masks import read_mask
from zoomexp.errors import InputError

HEIGHT, WIDTH = 24, 36  # of the toy's images


def blob(seed: int) -> np.ndarray:
    """A random mask (24, 36) bool of the upper left part of an image."""
    mask = np.random.default_rng(seed).random((HEIGHT, WIDTH)) > 0.4
    mask[16:], mask[:, 26:] = False, False
    return mask


def write(mask: np.ndarray, path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask.astype(np.uint8) * 255).save(path)


@pytest.fixture
def folder(tmp_path):
    for i in (0, 1, 5):
        write(blob(i), tmp_path / "masks" / "test" / f"{i}.png")
    return tmp_path


def batch(data) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in next(iter(data.test_dataloader())).items()}


def between_edges(first: float, last: float) -> np.ndarray:
    """Which of SIDE pixels' centres lie on no edge of the mask's pixels, where rounding would decide: (SIDE,) bool."""
    places = first + (np.arange(SIDE) + 0.5) * (last - first) / SIDE
    return abs(places - places.round()) > 1e-6


@pytest.mark.parametrize("crop_pct", [1.0, 0.8])
def test_a_mask_is_seen_as_its_image_is(folder, crop_pct):
    data = ready(folder, masks="masks", crop_pct=crop_pct)
    seen = batch(data)["mask"]
    side = HEIGHT * SIDE / int(SIDE / crop_pct)  # of the central window, in pixels of the image
    left, top = (WIDTH - side) / 2, (HEIGHT - side) / 2
    for i in (0, 1, 5):
        whole = Image.fromarray(blob(i).astype(np.uint8) * 255)
        x0, y0, x1, y1 = data.central_view().matrix(WIDTH, HEIGHT)[[0, 1, 0, 1], [2, 2, 0, 1]]
        box = (-x0 / x1, -y0 / y1, (SIDE - x0) / x1, (SIDE - y0) / y1)
        assert np.allclose(box, (left, top, left + side, top + side), atol=1.5)
        expected = np.asarray(whole.resize((SIDE, SIDE), Image.Resampling.NEAREST, box=box)) > 0
        clear = np.ix_(*(between_edges(box[k], box[k + 2]) for k in (1, 0)))
        assert expected[clear].any() and np.array_equal(seen[i][clear], expected[clear])
    assert not seen[2].any() and not seen[3].any()
    assert data.notes[-1] == "masks of 0 of 60 train images, 3 of 24 test images"


def test_a_mask_of_another_size_covers_the_same_image(folder):
    plain = batch(ready(folder, masks="masks"))["mask"]
    for i in (0, 1, 5):
        write(blob(i).repeat(3, 0).repeat(2, 1), folder / "masks" / "test" / f"{i}.png")
    assert np.array_equal(batch(ready(folder, masks="masks"))["mask"], plain)


def test_a_mask_is_turned_with_its_image(folder):
    plain = batch(ready(folder, masks="masks", crop_pct=1.0))["mask"][0]
    with Image.open(folder / "test" / "0.png") as image:
        exif = image.getexif()
        exif[0x0112] = 3  # upside down
        image.save(folder / "test" / "0.png", exif=exif)
    assert np.array_equal(batch(ready(folder, masks="masks", crop_pct=1.0))["mask"][0], plain[::-1, ::-1])


def test_only_test_batches_have_masks(folder):
    data = ready(folder, masks=str(folder / "masks"))
    assert "mask" not in next(iter(data.train_dataloader())) and "mask" not in next(iter(data.val_dataloader()))
    assert "mask" not in batch(ready(folder))


def test_folds_keep_the_masks(folder):
    data = ready(folder, masks="masks", fold=0, folds=2)
    assert data.part("test").masks is not None


def saved(image: Image.Image, path) -> np.ndarray:
    image.save(path)
    return read_mask(path)


def test_what_is_the_object(tmp_path):
    wanted = np.array([[False, True], [True, False]])
    for low, high in ((0, 255), (0, 1), (51, 204)):
        values = np.where(wanted, high, low).astype(np.uint8)
        assert np.array_equal(saved(Image.fromarray(values), tmp_path / "grey.png"), wanted)
        assert np.array_equal(saved(Image.fromarray(values).convert("RGB"), tmp_path / "colour.png"), wanted)
    classes = Image.new("P", (2, 2))
    classes.putdata([0, 1, 20, 0])
    classes.putpalette([0, 0, 0, 128, 0, 0] + [7] * 60)
    assert np.array_equal(saved(classes, tmp_path / "palette.png"), wanted)
    assert not saved(Image.new("L", (2, 2)), tmp_path / "empty.png").any()


def test_refusals(folder):
    with pytest.raises(InputError, match=r"^dataset\.masks=.*nowhere is no folder that can be read$"):
        ready(folder, masks="nowhere")
    (folder / "other").mkdir()
    with pytest.raises(InputError, match=r"other has no mask of any image; masks are named as images are: 0\.png$"):
        ready(folder, masks="other")
    with pytest.raises(InputError, match=r"^dataset\.masks=3 must be a folder"):
        Toy(data_dir=folder, batch_size=1, mean=(0,) * 3, std=(1,) * 3, masks=3)
    (folder / "masks" / "test" / "0.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"0\.png cannot be read as an image: it is empty"):
        batch(ready(folder, masks="masks"))


def test_a_changed_mask_is_other_data(folder, tmp_path):
    first = of_split(ready(folder, masks="masks").part("test"))
    assert first != of_split(ready(folder).part("test"))
    (folder / "masks").rename(folder / "moved")
    assert of_split(ready(folder, masks="moved").part("test")) == first
    write(blob(9), folder / "moved" / "test" / "1.png")
    assert of_split(ready(folder, masks="moved").part("test")) != first
