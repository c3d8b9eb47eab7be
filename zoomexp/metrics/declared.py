"""Every quantity that the package's tasks, callbacks and records give, each declared once (see `quantity`).

To add one that a task scores: its declaration here, in the task's list, and its computation beside the others of that
task (`metrics.classification` for classifiers). A task of one's own may as well declare them in its own file.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from zoomexp.metrics.quantity import Quantity, find

PERCENT: dict[str, Any] = {"unit": "%", "bounds": (0.0, 100.0)}
_share: Callable[..., Quantity] = partial(Quantity, **PERCENT)
_score: Callable[..., Quantity] = partial(Quantity, **PERCENT, higher_is_better=True)

LOSS = Quantity("loss", "loss", higher_is_better=False)
ACC1 = _score("acc1", "top-1 accuracy", per_image=True, test="mcnemar", shown=True)
ACC5 = _score("acc5", "top-5 accuracy", per_image=True, test="mcnemar", shown=True)
NLL = Quantity("nll", "negative log-likelihood", "nats", False, 3, (0.0, None), True, "paired_t", shown=True)
ECE = Quantity(
    "ece", "expected calibration error", "%", False, bounds=(0.0, 100.0), test="bootstrap", shown=True,
    measure="zoomexp.metrics.calibration.of_predictions",
)  # fmt: skip
BRIER = Quantity("brier", "Brier score", "", False, 4, (0.0, 2.0), True, "paired_t")
AURC = Quantity(
    "aurc", "area under the risk-coverage curve", "%", False, bounds=(0.0, 100.0), test="bootstrap",
    measure="zoomexp.metrics.selection.of_predictions",
)  # fmt: skip
TEMPERATURE = Quantity("temperature", "temperature that suits held-out images best", decimals=2, bounds=(0.0, None))
NLL_T = Quantity("nll_t", "negative log-likelihood at that temperature", "nats", False, 3, (0.0, None), short="nll T")
ECE_T = _share("ece_t", "calibration error at that temperature", higher_is_better=False, short="ece T")
BRIER_T = Quantity("brier_t", "Brier score at that temperature", "", False, 4, (0.0, 2.0), short="brier T")
BALANCED = _score("balanced_acc", "balanced accuracy", short="balanced", shown=True)
MACRO_F1 = _score("macro_f1", "macro F1", shown=True)
AUROC = _score("auroc", "area under the ROC curve", test="bootstrap", shown=True, short="AUROC",
               measure="zoomexp.metrics.ranking.auroc_of_predictions")  # fmt: skip
AVERAGE_PRECISION = _score("average_precision", "average precision", test="bootstrap", shown=True, short="mean AP",
                           measure="zoomexp.metrics.ranking.average_precision_of_predictions")  # fmt: skip
REAL_ACC1 = _score(  # of one data set alone, so none of what every classifier has a panel for
    "real_acc1", "top-1 accuracy by ReaL labels", per_image=True, test="mcnemar", shown=True, short="ReaL"
)
TOKENS = Quantity("tokens", "tokens", "an image", decimals=1)

LOCALISATION = (
    _score("pointing_game", "pointing game, map's peak in the box", short="pointing", shown=True),
    _share("pointing_game/teacher", "pointing game of the teacher's maps"),
    _share("pointing_game/centre_prior", "pointing game of the image centre"),
    _share("pointing_game/random_prior", "pointing game of random maps"),
    _score("energy_in_box", "map's mass in the box"),
    _score("best_iou", "IoU of the map's best threshold with the box"),
    _score("mask_hits", "map's peak in the mask", short="mask hits", shown=True),
    _score("energy_in_mask", "map's mass in the mask"),
    _score("best_mask_iou", "IoU of the map's best threshold with the mask"),
    _score("part_hits", "map's peak near a part", short="part hits", shown=True),
    _score("mass_near_parts", "map's mass near the parts"),
    _score("best_parts_iou", "IoU of the map's best threshold with discs around the parts"),
    _share("entropy", "entropy of the map"),
    _share("gini", "Gini coefficient of the map"),
    _share("region_size", "size of the map's regions"),
    Quantity("regions", "regions of the map", bounds=(0.0, None)),
)
PERTURBATION = (
    _score("insertion", "area under the insertion curve"),
    _share("deletion", "area under the deletion curve", higher_is_better=False),
)
_survives: Callable[..., Quantity] = partial(_score, per_image=True, test="mcnemar")
ROBUSTNESS = (  # at a radius: robust/pgd20@1, 20 steps and 1 / 255
    _score("robust/clean", "accuracy of the images that are attacked", short="clean"),
    _score("robust/fgsm", "accuracy under FGSM", short="FGSM"),
    _survives("robust/pgd", "accuracy under PGD", short="PGD"),
    _share("robust/success", "success of PGD", higher_is_better=False),
    _score("robust/auc", "accuracy under PGD, mean over the radii"),
    Quantity("robust/median_eps", "median of the smallest radius that flips an image", "/255", True, 3, (0.0, None),
             test="bootstrap", measure="zoomexp.metrics.robustness.median_eps", short="median eps"),
    Quantity("robust/map_shift", "correlation of maps with and without attack", "", True, 3, (-1.0, 1.0)),
    _score("robust/pointing_game", "pointing game under attack"),
    _share("robust/missed", "right under PGD and flipped by a check", higher_is_better=False),
    _share("robust/missed_of_right", "flipped by a check, of those right under PGD", higher_is_better=False),
    _score("robust/transfer", "accuracy under another network's examples"),
    _share("robust/transfer_back", "the other network's accuracy under this one's examples"),
)  # fmt: skip
CORRUPTIONS = (
    _score("corrupted", "accuracy of corrupted images"),
    _score("corrupted/mean", "accuracy of corrupted images, mean", per_image=True, test="paired_t", short="corrupted"),
    Quantity("mce", "mean corruption error", "% of AlexNet's", False, bounds=(0.0, None), short="mCE"),
)
SCALED = (TEMPERATURE, NLL_T, ECE_T, BRIER_T)
CLASSIFICATION = (ACC1, ACC5, BALANCED, MACRO_F1, AUROC, AVERAGE_PRECISION, NLL, ECE, BRIER, AURC, *SCALED,
                  LOSS, TOKENS, *LOCALISATION, *PERTURBATION)  # fmt: skip

ACC1_AT = _score("acc1_at", "top-1 accuracy at a threshold")
ACC1_OVER = _score("acc1_over_alpha", "top-1 accuracy over thresholds")
TOKENS_AT = Quantity("tokens_at", "tokens at a threshold", "an image", decimals=1)
TOKENS_OVER = Quantity("tokens_over_alpha", "tokens over thresholds", "an image", decimals=1)
ALPHA_CURVE = (ACC1_AT, ACC1_OVER, TOKENS_AT, TOKENS_OVER)
NINE_CROP = (_score("any_crop", "right in any crop"), _score("crop_mean", "accuracy of the crops' mean"))
KNN_ACC1 = _score("knn_acc1", "top-1 accuracy of the nearest neighbours", shown=True)
PROBE = (
    KNN_ACC1,
    _score("probe_acc1", "top-1 accuracy of the probe"),
    Quantity("penalty", "C of the logistic regression", bounds=(0.0, None)),
)

MSE = Quantity("mse", "MSE", "", False, 4, (0.0, None), per_image=True, test="paired_t", shown=True)
MAE = Quantity("mae", "MAE", "", False, 4, (0.0, None), shown=True)
RANKS = Quantity("rank_correlation", "rank correlation with the teacher", "", True, 4, (-1.0, 1.0), shown=True)
TERMS = (Quantity("kl", "KL divergence", decimals=4), Quantity("dice", "Dice loss", decimals=4))
DISTILLATION = (MSE, MAE, RANKS, LOSS, *TERMS, *LOCALISATION)

AP = _score("ap", "AP, mean of IoU 0.5 to 0.95", test="bootstrap", shown=True, short="AP",
            measure="zoomexp.metrics.average_precision.of_predictions")  # fmt: skip
AP50 = _score("ap50", "AP at IoU 0.5", test="bootstrap", shown=True, short="AP50",
              measure="zoomexp.metrics.average_precision.at_half")  # fmt: skip
DETECTION = (
    AP,
    AP50,
    _score("ap75", "AP at IoU 0.75", short="AP75", shown=True),
    _score("ap_small", "AP of objects below 32 x 32 pixels", short="AP S"),
    _score("ap_medium", "AP of objects from 32 x 32 to 96 x 96 pixels", short="AP M"),
    _score("ap_large", "AP of objects above 96 x 96 pixels", short="AP L"),
    _score("ar100", "average recall with 100 boxes", short="AR100"),
    LOSS,
    TOKENS,
    Quantity("class", "loss of the class", decimals=4),
    Quantity("box", "loss of the box's distance", decimals=4),
    Quantity("giou", "loss of the box's overlap", decimals=4),
)

_pixels: Callable[..., Quantity] = partial(_score, test="bootstrap", shown=True)
MIOU = _pixels("miou", "mean IoU over classes", short="mIoU", measure="zoomexp.metrics.segmentation.miou")
SEGMENTATION = (
    MIOU,
    _pixels("acc_pixel", "pixel accuracy", short="pixel acc", measure="zoomexp.metrics.segmentation.pixel_accuracy"),
    _pixels("dice_score", "mean Dice over classes", short="Dice", measure="zoomexp.metrics.segmentation.dice"),
    _pixels("boundary_iou", "mean boundary IoU over classes", short="boundary IoU",
            measure="zoomexp.metrics.segmentation.boundary_iou"),
    LOSS,
    Quantity("cross_entropy", "cross-entropy", decimals=4),
    TERMS[1],  # the Dice loss
    Quantity("sparsity", "penalty on the maps", decimals=4),
)  # fmt: skip

GATES = (
    Quantity("change", "relative change of the feature", decimals=4, bounds=(0.0, None)),
    _share("saturated", "share of the map at 1"),
    _share("opening", "mean of the map"),
    Quantity("passed", "share of the feature's variation that is passed on", decimals=4, bounds=(0.0, None)),
    Quantity("gamma", "gate", decimals=4),
    Quantity("weight_norm", "norm of the module's weights", bounds=(0.0, None)),
)
EFFECTS = (
    Quantity("features", "relative change of the features by the module", decimals=4, bounds=(0.0, None)),
    Quantity("logits", "relative change of the logits by the module", decimals=4, bounds=(0.0, None)),
    Quantity("classes", "share of images whose likeliest class the module changes", decimals=4, bounds=(0.0, 1.0)),
)
_count = partial(Quantity, decimals=0, bounds=(0.0, None))
PARAMS, MACS = _count("params", "parameters", higher_is_better=False), _count("macs", "MACs", "", False)
SPEED = _count("img_per_s", "training speed", "images/s", True, short="img/s")
TRAIN_S = _count("train_s", "training", "s", False)
COST = (
    PARAMS,
    _count("module_params", "parameters of the modules", higher_is_better=False),
    _count("trainable_params", "trained parameters"),
    _count("scorer_params", "parameters of the scorer", higher_is_better=False),
    MACS,
    _count("macs_spread", "spread of the MACs over images"),
    _count("macs_scorer", "MACs of the scorer", higher_is_better=False),
    TRAIN_S,
    SPEED,
    _count("test_img_per_s", "speed in the test", "images/s", True),
    Quantity("test_cpu_ms", "CPU time in the test", "ms/image", False, decimals=1, bounds=(0.0, None)),
    _count("peak_mib", "peak memory", "MiB", False),
)  # fmt: skip
EPOCHS = (_count("epochs", "epochs"), Quantity("lr", "learning rate", decimals=6), _count("epoch_s", "epoch", "s"))

DECLARED = tuple(
    dict.fromkeys(
        (*CLASSIFICATION, REAL_ACC1, *ROBUSTNESS, *CORRUPTIONS, *ALPHA_CURVE, *NINE_CROP, *PROBE, *DISTILLATION,
         *DETECTION, *SEGMENTATION, *GATES, *EFFECTS, *COST, *EPOCHS)
    )
)  # fmt: skip
MAINS = (ACC1, MSE)  # of records that do not say which of their quantities is the main one


def declaration(full: str, own: tuple[Quantity, ...] = ()) -> Quantity | None:
    """What a full name means, or None if nobody has declared it.

    Args:
        full: `split/key`.
        own: what a run's own task has declared beside the package.
    """
    return find(full, own) or find(full, DECLARED)
