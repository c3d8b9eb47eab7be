"""Pixels of every mode that Pillow has, to 8-bit RGB: 16 bits scaled, what is transparent over a colour."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageColor

from zoomexp.errors import InputError

WHITE = (255, 255, 255)


def scale_transparency(image: Image.Image) -> None:
    """Scale the colour that is transparent in a PNG as Pillow (13) scales its pixels, which it does not do itself."""
    clear = image.info.get("transparency")
    tile = getattr(image, "tile", None)  # of an image read from a file
    if image.format != "PNG" or clear is None or not tile:
        return
    layout = tile[0][3]
    if layout in ("L;2", "L;4"):
        image.info["transparency"] = clear * {"L;2": 85, "L;4": 17}[layout]
    elif layout == "RGB;16B":
        image.info["transparency"] = tuple(value >> 8 for value in clear)


def to_8_bits(image: Image.Image) -> Image.Image:
    """Scale a grey image of 16 bits to 8; what is transparent in it becomes so by an alpha channel. Others stay."""
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.int64).clip(0, 65535)
    grey = Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))  # 65535 = 257 * 255, rounded
    if isinstance(clear := image.info.get("transparency"), int):
        grey.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    return grey


def on_background(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """Return an 8-bit image of any mode in RGB, what is transparent in it over `background`."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    canvas = Image.new("RGBA", image.size, (*background, 255))
    return Image.alpha_composite(canvas, image.convert("RGBA")).convert("RGB")


def colour(field: str, value: str | Sequence[int]) -> tuple[int, int, int]:
    """Return red, green and blue of a colour, a name ("white", "#ff8800") or three whole numbers 0..255.

    Raises:
        InputError: it is neither.
    """
    try:
        found = ImageColor.getrgb(value) if isinstance(value, str) else tuple(value)
    except (TypeError, ValueError):
        found = ()
    if len(found) != 3 or not all(type(part) is int and 0 <= part <= 255 for part in found):
        raise InputError(
            f"{field}={value!r} must be a colour's name, for example white, or [red, green, blue] in 0..255"
        )
    return found
