"""CIFAR-10-C's public layout beside CIFAR-10's array cache, both written here."""

import numpy as np
import pytest

from zoomexp.datasets.arrays import ImageArrays, Splits, save_cache
from zoomexp.datasets.cifar_c import CIFAR10C, CIFAR100C
from zoomexp.errors import InputError
from zoomexp.robustness.corruptions import KINDS

SMALL = {"batch_size": 4, "mean": [0.5] * 3, "std": [0.5] * 3, "val_fraction": 0.2}
TEST = 6  # images


def images(n, seed):
    return np.random.default_rng(seed).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    classes = tuple("abcdefghij")
    clean = [ImageArrays(images(n, n), np.arange(n) % 10) for n in (20, TEST)]
    save_cache(tmp_path / "cifar10.npz", Splits(*clean, classes))
    root = tmp_path / "CIFAR-10-C"
    root.mkdir()
    np.save(root / "labels.npy", np.tile(np.arange(TEST), 5))
    for number, kind in enumerate((*KINDS, "spatter")):
        np.save(root / f"{kind}.npy", images(5 * TEST, 100 + number))
    return tmp_path


def ready(folder, **options):
    data = CIFAR10C(data_dir=folder, **(SMALL | options))
    data.setup()
    return data


@pytest.mark.parametrize(("kind", "severity"), [("fog", 3), ("spatter", 5), ("fog", None), ("all", 1), ("all", None)])
def test_the_images_of_a_kind_and_severity(folder, kind, severity):
    data = ready(folder, kind=kind, severity=severity)
    named = (*KINDS, "spatter")
    every = [images(5 * TEST, 100 + named.index(one)) for one in (KINDS if kind == "all" else (kind,))]
    rows = slice(None) if severity is None else slice((severity - 1) * TEST, severity * TEST)
    np.testing.assert_array_equal(data.part("test").images, np.concatenate([one[rows] for one in every]))
    labels = np.tile(np.arange(TEST), 5)[rows]
    np.testing.assert_array_equal(data.part("test").labels, np.tile(labels, len(every)))
    assert (len(data.part("train")), len(data.part("val"))) == (16, 4)  # CIFAR's own
    assert len(np.unique(data.part("test").index)) == len(data.part("test"))


def test_what_is_wrong_is_one_line(folder):
    with pytest.raises(InputError, match=r"^dataset\.kind='rain' must be one of all, gaussian_noise"):
        ready(folder, kind="rain")
    with pytest.raises(InputError, match=r"^dataset\.severity=6 must be one of"):
        ready(folder, severity=6)
    np.save(folder / "CIFAR-10-C" / "fog.npy", images(7, 0))
    with pytest.raises(InputError, match=r"fog\.npy is damaged: fog_labels is int64 \(30,\), not \(7,\) int64"):
        ready(folder, kind="fog")
    (folder / "CIFAR-10-C" / "fog.npy").write_bytes(b"")
    with pytest.raises(InputError, match=r"fog\.npy is damaged: it cannot be read; get it again from https://zenodo"):
        ready(folder, kind="fog")
    (folder / "CIFAR-10-C" / "fog.npy").unlink()
    with pytest.raises(InputError, match=r"^dataset=cifar10_c: \S+/CIFAR-10-C/fog\.npy is missing; it is to be had at"):
        ready(folder, kind="fog")
    assert (CIFAR100C.cache, CIFAR100C.torchvision_name, CIFAR100C.folder) == ("cifar100", "CIFAR100", "CIFAR-100-C")
