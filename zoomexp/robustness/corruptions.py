"""The fifteen common corruptions at five severities (Hendrycks and Dietterich 2019, arXiv 1903.12261).

Made by imagecorruptions-imaug. It names opencv-python, which cannot stand beside the headless one that grad-cam brings,
so it is installed without what it names (see `INSTALL`). It draws from numpy's global generator, and for two kinds from
unseeded ones of its own; here every image, kind and severity has its own seed, whatever batch it is in.
"""

import importlib.util
from collections.abc import Mapping

import numpy as np
from PIL import Image

from zoomexp.errors import InputError

GROUPS = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
}
KINDS = tuple(kind for kinds in GROUPS.values() for kind in kinds)
OWN_SEED = ("impulse_noise", "glass_blur")  # do not draw from numpy's global generator
SEVERITIES = (1, 2, 3, 4, 5)
LEAST = 32  # pixels a side
# Errors of AlexNet on ImageNet-C, mean over severities, by which mCE divides (the authors' hendrycks/robustness).
ALEXNET = dict(zip(KINDS, (
    0.886428, 0.894468, 0.922640, 0.819880, 0.826268, 0.785948, 0.798360, 0.866816, 0.826572, 0.819324, 0.564592,
    0.853204, 0.646056, 0.717840, 0.606500,
), strict=True))  # fmt: skip
INSTALL = "pip install 'zoomexp[corruptions]' && pip install --no-deps imagecorruptions-imaug"  # numba, scikit-image


def corrupted(image: np.ndarray, kind: str, severity: int, index: int) -> np.ndarray:
    """One image, corrupted.

    Args:
        image: (H, W, C) uint8, C 1 or 3, at least 32 pixels a side. Grey ones are corrupted as colour ones, and are the
            luma of what comes out.
        kind: One of `KINDS`.
        severity: 1 to 5.
        index: The image's number, which seeds what is drawn.

    Returns:
        (H, W, C) uint8.
    """
    from imagecorruptions import corrupt

    seed = int(np.random.SeedSequence((index, KINDS.index(kind), severity)).generate_state(1)[0])
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        own = {"seed": seed} if kind in OWN_SEED else {}
        found: np.ndarray = corrupt(image, severity=severity, corruption_name=kind, **own)
    finally:
        np.random.set_state(state)
    return found if image.shape[2] == 3 else np.asarray(Image.fromarray(found).convert("L"))[:, :, None]


def mean_scores(accuracy: Mapping[tuple[str, int], float]) -> dict[str, float]:
    """Means of accuracies in percent, by kind and severity: `<kind>@<severity>`, the groups' names, and `mean`."""
    found = {f"{kind}@{severity}": value for (kind, severity), value in accuracy.items()}
    for group, kinds in GROUPS.items():
        found[group] = float(np.mean([value for (kind, _), value in accuracy.items() if kind in kinds]))
    return found | {"mean": float(np.mean(list(accuracy.values())))}


def mce(accuracy: Mapping[tuple[str, int], float]) -> float:
    """Mean corruption error in percent: each kind's error over AlexNet's, mean over the kinds.

    Args:
        accuracy: In percent, on ImageNet, of all kinds and severities.

    >>> half = {(kind, severity): 100 - 50 * ALEXNET[kind] for kind in KINDS for severity in SEVERITIES}
    >>> round(mce(half), 6)
    50.0
    """
    errors = {kind: 100 - np.mean([accuracy[kind, severity] for severity in SEVERITIES]) for kind in KINDS}
    return float(np.mean([error / ALEXNET[kind] for kind, error in errors.items()]))


def check_installed(field: str) -> None:
    """Refuse a choice whose libraries are missing.

    Raises:
        InputError: One is not installed.
    """
    for package in ("imagecorruptions", "numba", "skimage"):
        if importlib.util.find_spec(package) is None:
            raise InputError(f"{field}: needs {package}: {INSTALL}")
