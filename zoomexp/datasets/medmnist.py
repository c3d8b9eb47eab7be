"""MedMNIST v2 (Yang et al. 2023, Scientific Data 10:41): medical images of 28 to 224 pixels, with their own splits.

The archives lie at https://zenodo.org/records/10519652, one a set and size, and are not downloaded here: `<flag>.npz`
of 28 pixels, `<flag>_64.npz`, `_128` and `_224`. For each split they have `<split>_images`, (N, S, S) or (N, S, S, 3)
uint8, and `<split>_labels`, (N, 1).
"""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from zoomexp.arguments import one_of
from zoomexp.datasets.array_data import ArrayDataModule
from zoomexp.datasets.arrays import Splits, checked_part
from zoomexp.errors import InputError

HOME = "https://zenodo.org/records/10519652"
ORGANS = ("bladder", "femur-left", "femur-right", "heart", "kidney-left", "kidney-right", "liver", "lung-left",
          "lung-right", "pancreas", "spleen")  # fmt: skip
CLASSES = {
    "pathmnist": ("adipose", "background", "debris", "lymphocytes", "mucus", "smooth muscle", "normal colon mucosa",
                  "cancer-associated stroma", "colorectal adenocarcinoma epithelium"),
    "dermamnist": ("actinic keratoses", "basal cell carcinoma", "benign keratosis", "dermatofibroma", "melanoma",
                   "melanocytic nevi", "vascular lesions"),
    "octmnist": ("choroidal neovascularization", "diabetic macular edema", "drusen", "normal"),
    "pneumoniamnist": ("normal", "pneumonia"),
    "retinamnist": ("0", "1", "2", "3", "4"),
    "breastmnist": ("malignant", "normal or benign"),
    "bloodmnist": ("basophil", "eosinophil", "erythroblast", "immature granulocytes", "lymphocyte", "monocyte",
                   "neutrophil", "platelet"),
    "tissuemnist": ("collecting duct", "distal convoluted tubule", "glomerular endothelial cells",
                    "interstitial endothelial cells", "leukocytes", "podocytes", "proximal tubule segments",
                    "thick ascending limb"),
    "organamnist": ORGANS,
    "organcmnist": ORGANS,
    "organsmnist": ORGANS,
}  # fmt: skip
SIDES = (28, 64, 128, 224)
PARTS = ("train", "val", "test")


class MedMNIST(ArrayDataModule):
    """A set of MedMNIST that has one class an image; grey images are given three equal channels.

    With `validate_on="heldout"` its own validation split validates, and `val_fraction` is not used.

    Args:
        flag: which set. `chestmnist` has several labels an image, and is not one of them.
        side: of the images in the file, in pixels: 28, 64, 128 or 224.
        **common: as in `ArrayDataModule`.
    """

    name = "medmnist"

    def __init__(self, *, flag: str = "bloodmnist", side: int = 28, **common: Any) -> None:
        super().__init__(**common)
        one_of("dataset.flag", flag, tuple(CLASSES))
        one_of("dataset.side", side, SIDES)
        self.flag, self.side = flag, side

    def read(self) -> Splits:
        """Return the three splits from `<data_dir>/medmnist/<file>` or `<data_dir>/<file>`.

        Raises:
            InputError: the file is not there, cannot be read, or has other arrays than the module docstring says.
        """
        name = f"{self.flag}.npz" if self.side == SIDES[0] else f"{self.flag}_{self.side}.npz"
        places = [self.data_dir / "medmnist" / name, self.data_dir / name]
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            raise InputError(f"dataset=medmnist: {places[0]} is missing; get {name} from {HOME}")
        images, labels = _arrays(path)
        classes = CLASSES[self.flag]
        train, val, test = (checked_part(path, part, images[part], labels[part], len(classes)) for part in PARTS)
        return Splits(train, test, classes, val)


def _arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The images (N, S, S, 3) and labels (N,) of each split, as they are stored but for their shapes."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            images = {part: stored[f"{part}_images"] for part in PARTS}
            labels = {part: stored[f"{part}_labels"] for part in PARTS}
    except KeyError as error:
        raise InputError(f"{path} is damaged: {error.args[0]}; get it again from {HOME}") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path} is damaged: it cannot be read; get it again from {HOME}") from error
    colour = {part: np.repeat(array[..., None], 3, -1) if array.ndim == 3 else array for part, array in images.items()}
    return colour, {part: array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
                    for part, array in labels.items()}  # fmt: skip
