"""Image files of every kind as they are to be seen; the references are Pillow's own transposition and arithmetic."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from zoomexp.datasets.image_files import ImageFiles
from zoomexp.datasets.picture import BadImageError, Picture, open_picture, suffixes, turn_matrix
from zoomexp.datasets.pixels import WHITE, colour
from zoomexp.datasets.stream_loader import StreamSet
from zoomexp.datasets.views import CentralView, RandomView
from zoomexp.errors import InputError

SIDE, BOX = 32, (30, 20, 90, 44)
ALL_WAYS = range(1, 9)


def tagged(path, way, size=(120, 80), **options):
    """A black image with a white box, stored as is; EXIF says which way is up."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    x0, y0, x1, y1 = BOX
    pixels[y0:y1, x0:x1] = 255
    exif = Image.Exif()
    exif[0x0112] = way
    Image.fromarray(pixels).save(path, exif=exif, **options)
    return path


def bright(channel):
    rows, columns = np.nonzero(channel > 127)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


@pytest.mark.parametrize("way", ALL_WAYS)
@pytest.mark.parametrize("ending", [".jpg", ".webp", ".png", ".tif", ".avif"])
def test_all_eight_ways_are_turned_upright(tmp_path, ending, way):
    lossless = {"lossless": True} if ending == ".webp" else {}
    path = tagged(tmp_path / f"a{ending}", way, **lossless)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    with open_picture(path) as picture:
        size, found = picture.size, np.asarray(picture.rgb())
    assert found.shape == expected.shape == (*((80, 120) if way < 5 else (120, 80)), 3) and size == found.shape[1::-1]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("way", ALL_WAYS)
@pytest.mark.parametrize("ending", [".jpg", ".webp"])
def test_the_box_and_the_point_turn_with_the_image(tmp_path, ending, way):
    tagged(tmp_path / f"a{ending}", way, quality=95)
    middle = [(BOX[0] + BOX[2]) / 2, (BOX[1] + BOX[3]) / 2, 1]
    files = ImageFiles(tmp_path, np.array([f"a{ending}".encode()]), np.array([0]), np.float32([BOX]),
                       np.float32([[middle]]))  # fmt: skip
    for view in (CentralView(SIDE, 1.0), RandomView(SIDE, scale=(0.9, 1), flip=True, augment=None)):
        images = StreamSet(files, view, mean=(0, 0, 0), std=(1, 1, 1))
        for draw in range(5):
            batch = images[[(draw, 0)]]
            found = bright(255 * batch["image"][0, 0].numpy())
            assert abs(found - batch["box"][0].numpy()).max() <= 1
            if batch["parts"][0, 0, 2] and found.min() > 0 and found.max() < SIDE:
                centre = (found[:2] + found[2:]) / 2
                assert abs(centre - batch["parts"][0, 0, :2].numpy()).max() <= 1


@pytest.mark.parametrize("way", ALL_WAYS)
def test_the_reduced_size_of_a_jpeg_turns_too(tmp_path, way):
    grain = np.random.default_rng(0).integers(0, 256, (20, 40, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = way
    path = tmp_path / "a.jpg"
    Image.fromarray(grain).resize((1201, 600), Image.Resampling.BICUBIC).save(path, exif=exif, quality=95)
    with Image.open(path) as image:
        whole = ImageOps.exif_transpose(image)
        whole, _ = CentralView(SIDE, 1.0)(Picture(whole.convert("RGB"), path))
    with open_picture(path) as picture:
        reduced, _ = CentralView(SIDE, 1.0)(picture)
        assert picture.reduction == 8
    assert abs(reduced.astype(int) - whole).mean() < 2


def test_turn_matrices_are_those_of_the_pixels():
    stored = np.arange(6).reshape(2, 3)
    for way in ALL_WAYS:
        exif = Image.Exif()
        exif[0x0112] = way
        image = Image.fromarray(stored.astype(np.uint8))
        image.info["exif"] = exif.tobytes()
        upright, matrix = np.asarray(ImageOps.exif_transpose(image)), turn_matrix(way, 3, 2)
        for row, column in np.ndindex(2, 3):
            x, y, _ = matrix @ [column + 0.5, row + 0.5, 1]
            assert upright[int(y), int(x)] == stored[row, column]


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_is_none_turns_nothing(tmp_path, value):
    with open_picture(tagged(tmp_path / "a.jpg", value)) as picture:
        assert picture.size == (120, 80) and np.array_equal(picture.turn, np.eye(3))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_data_turn_nothing(tmp_path):
    path = tagged(tmp_path / "a.jpg", 6)
    content = path.read_bytes()
    place = content.index(b"Exif\0\0") + 6
    path.write_bytes(content[:place] + b"\xff" * 8 + content[place + 8 :])
    with open_picture(path) as picture:
        assert picture.size == (120, 80) and picture.rgb().size == (120, 80)


def seen(image, kind, background=WHITE, **options):
    """The pixels of an image that went through a file."""
    content = io.BytesIO()
    image.save(content, kind, **options)
    return pixels_of(content.getvalue(), background)


def pixels_of(content, background=WHITE):
    with Image.open(io.BytesIO(content)) as opened:
        return np.asarray(Picture(opened, "made", background).rgb()).astype(int)


def over(colours, alpha, background):
    share = alpha[..., None] / 255
    return colours * share + np.array(background) * (1 - share)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "JPEG2000", "AVIF"])
@pytest.mark.parametrize("background", [WHITE, (10, 200, 90)])
def test_alpha_is_over_the_background(kind, background):
    rng = np.random.default_rng(0)
    colours = np.broadcast_to(rng.integers(0, 256, (1, 1, 3)), (16, 16, 3))
    alpha = np.repeat(np.arange(0, 256, 17)[None], 16, axis=0)
    image = Image.fromarray(np.dstack([colours, alpha]).astype(np.uint8))
    exact = {"WEBP": {"lossless": True, "exact": True}, "AVIF": {"quality": 100, "subsampling": "4:4:4"}}
    found = seen(image, kind, background, **exact.get(kind, {}))
    np.testing.assert_allclose(found, over(colours, alpha, background), rtol=0, atol=4 if kind == "AVIF" else 1)


def test_grey_with_alpha_and_black_on_nothing():
    alpha = np.zeros((8, 8), np.uint8)
    alpha[2:6, 2:6] = 255
    letter = Image.merge("LA", [Image.new("L", (8, 8), 0), Image.fromarray(alpha)])
    np.testing.assert_array_equal(seen(letter, "PNG"), np.repeat(255 - alpha.astype(int)[..., None], 3, axis=2))


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP"])
def test_a_palette_with_transparency(kind):
    image = Image.new("P", (4, 2))
    image.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200])
    image.putdata([0, 1, 2, 1] * 2)
    options = {"transparency": 1} | ({"lossless": True} if kind == "WEBP" else {})
    image = image if kind != "WEBP" else image.convert("RGBA")
    if kind == "WEBP":
        image.putalpha(Image.fromarray(np.uint8([[255, 0, 255, 0]] * 2)))
        del options["transparency"]
    found = seen(image, kind, (1, 2, 3), **options)
    np.testing.assert_array_equal(found[0], [[200, 0, 0], [1, 2, 3], [0, 0, 200], [1, 2, 3]])


def test_a_palette_with_an_alpha_for_each_colour():
    image = Image.new("P", (3, 1))
    image.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200])
    image.putdata([0, 1, 2])
    found = seen(image, "PNG", (0, 0, 0), transparency=b"\xff\x80\x00")
    np.testing.assert_array_equal(found[0], [[200, 0, 0], [0, 100, 0], [0, 0, 0]])


def png(width, bits, kind, row, clear=b""):
    """A PNG file of one row, written by hand: Pillow writes only some of the kinds it reads."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, bits, kind, 0, 0, 0))
    clear = chunk(b"tRNS", clear) if clear else b""
    return b"\x89PNG\r\n\x1a\n" + head + clear + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (png(2, 16, 0, struct.pack(">2H", 0x8080, 7), struct.pack(">H", 7)), [[128] * 3, [9, 9, 9]]),
        (png(2, 16, 2, struct.pack(">6H", 1, 2, 3, 65535, 0x8080, 0), struct.pack(">3H", 65535, 0x8080, 0)),
         [[0, 0, 0], [9, 9, 9]]),
        (png(2, 16, 4, struct.pack(">4H", 0x8080, 65535, 0, 0)), [[128] * 3, [9, 9, 9]]),
        (png(2, 16, 6, struct.pack(">8H", 65535, 0, 0x8080, 65535, 0, 0, 0, 0)), [[255, 0, 128], [9, 9, 9]]),
        (png(8, 1, 0, b"\xf0", b"\0\0"), [[255] * 3] * 4 + [[9] * 3] * 4),
        (png(4, 2, 0, b"\x1b", b"\0\1"), [[0] * 3, [9] * 3, [170] * 3, [255] * 3]),
        (png(2, 4, 0, b"\x5f", b"\0\x0f"), [[85] * 3, [9] * 3]),
        (png(2, 8, 2, bytes([1, 2, 3, 4, 5, 6]), struct.pack(">3H", 4, 5, 6)), [[1, 2, 3], [9] * 3]),
    ],
)  # fmt: skip
def test_bit_depths_and_transparent_colours_of_png(content, expected):
    np.testing.assert_array_equal(pixels_of(content, (9, 9, 9))[0], expected)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM", "JPEG2000"])
def test_sixteen_bits_are_scaled(kind):
    values = np.array([[0, 128, 129, 257 * 7, 40000, 65535]] * 4, np.uint16)
    found = seen(Image.fromarray(values), kind)
    np.testing.assert_array_equal(found, np.repeat(np.round(values / 257)[..., None], 3, axis=2))


@pytest.mark.parametrize("values", [np.float32([[0.5, 1]]), np.int32([[5, 70000]])])
def test_values_of_no_known_range_are_refused(tmp_path, values):
    path = tmp_path / "a.tif"
    Image.fromarray(values).save(path)
    with pytest.raises(BadImageError, match="whose range is not known; convert it to 8 or 16 bits"), open_picture(path):
        pass


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "LAB", "HSV", "RGBX", "PA"])
def test_every_mode_becomes_colour(mode):
    image = Image.new("RGB", (6, 4), (255, 255, 255))
    image = image.convert("P").convert("PA") if mode == "PA" else image
    image = Image.new("LAB", (6, 4), (255, 128, 128)) if mode == "LAB" else image.convert(mode)
    np.testing.assert_allclose(np.asarray(Picture(image, "made").rgb()), np.full((4, 6, 3), 255), rtol=0, atol=2)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "MPO"])
def test_the_first_picture_of_many(kind):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ((200, 0, 0), (0, 200, 0))]
    lossless = {"lossless": True} if kind == "WEBP" else {}
    found = seen(frames[0], kind, save_all=True, append_images=frames[1:], **lossless)
    np.testing.assert_allclose(found, np.broadcast_to([200, 0, 0], (16, 16, 3)), rtol=0, atol=3)


def test_suffixes_are_those_of_still_pictures_that_pillow_reads():
    assert {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".jp2", ".j2k",
            ".ppm", ".pgm", ".pbm", ".tga", ".ico", ".dds", ".qoi", ".mpo", ".apng"} <= suffixes()  # fmt: skip
    assert not {".pdf", ".eps", ".ps", ".mpg", ".h5", ".grib", ".wmf", ".txt", ""} & suffixes()


def test_postscript_is_not_run_whatever_it_is_called(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with pytest.raises(BadImageError, match="cannot be read as an image"), open_picture(tmp_path / "a.jpg"):
        pass


@pytest.mark.parametrize(
    ("value", "expected"),
    [("white", WHITE), ("#ff8000", (255, 128, 0)), ([1, 2, 3], (1, 2, 3)), ("snowy", None), ([1, 2], None),
     ([0, 0, 256], None), ([0.5, 0, 0], None), (3, None), (True, None), ("#ff800080", None)],
)  # fmt: skip
def test_colours(value, expected):
    if expected:
        assert colour("dataset.background", value) == expected
    else:
        with pytest.raises(InputError, match=r"^dataset.background=.* must be a colour's name"):
            colour("dataset.background", value)
