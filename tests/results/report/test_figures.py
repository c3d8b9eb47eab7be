"""Pictures as data URIs."""

import base64
import io

import numpy as np
from PIL import Image

from zoomexp.results.report.figures import MAX_SIDE, embedded, pictures
from zoomexp.results.report.runs import read_runs


def picture(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")


def test_a_large_picture_is_scaled_down(tmp_path):
    halves = np.zeros((400, 2 * MAX_SIDE, 3), np.uint8)
    halves[:, MAX_SIDE:] = (250, 20, 20)
    Image.fromarray(halves).save(tmp_path / "sheet.png")
    figure = embedded(tmp_path / "sheet.png")
    assert (figure.name, figure.width, figure.height) == ("sheet.png", MAX_SIDE, 200)
    expected = np.zeros((200, MAX_SIDE, 3), int)
    expected[:, MAX_SIDE // 2 :] = (250, 20, 20)
    difference = np.abs(np.asarray(picture(figure.uri), int) - expected)
    assert np.delete(difference, slice(MAX_SIDE // 2 - 8, MAX_SIDE // 2 + 8), axis=1).max() <= 6


def test_a_small_picture_is_embedded_as_it_is(tmp_path):
    Image.new("RGB", (3, 2), (1, 2, 3)).save(tmp_path / "dot.png")
    figure = embedded(tmp_path / "dot.png")
    assert base64.b64decode(figure.uri.removeprefix("data:image/png;base64,")) == (tmp_path / "dot.png").read_bytes()


def test_a_broken_picture_is_one_line(six):
    root, _ = six
    folder = next(root.glob("runs/*/*/*")) / "figures"
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(folder / "good.png")
    (folder / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    skipped = []
    run = next(run for run in read_runs(root / "runs")[0] if run.folder == folder.parent)
    assert [figure.name for figure in pictures(run, skipped)] == ["good.png"]
    assert len(skipped) == 1 and skipped[0].startswith(f"{run.path}/figures/bad.png: ")
