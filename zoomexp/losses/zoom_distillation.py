"""What the Zoomer learns from a teacher's relevance maps: MSE + w1 KL + w2 Dice.

Paper: "Vision Transformers Need Zoomer" (ICLR 2026 submission 6623), eq. 5. It leaves open the weights, between which
distributions KL is taken, the form of Dice and the scale of the maps; each is an argument here. Per image, with student
scores y and teacher map p, both (S, S), and y', p' the same after adding `epsilon` and dividing by the sum,

    MSE   mean (y - p)^2
    KL    sum y' log(y' / p')                                       as printed, KL(student || teacher)
    Dice  1 - (2 sum y p + smooth) / (sum y + sum p + smooth)       the soft form

each averaged over the batch.
"""

import torch
from torch import Tensor, nn

from zoomexp.arguments import finite, number, one_of
from zoomexp.errors import InputError
from zoomexp.relevance.normalisation import min_max


class ZoomDistillation(nn.Module):
    """MSE + w1 KL + w2 Dice between scores and maps.

    Args:
        kl_weight: w1 >= 0 (the paper states none; with MSE near 0.01 the other terms dominate at 1, so watch each).
        dice_weight: w2 >= 0 (the paper states none).
        kl_direction: "student_teacher", as printed, or "teacher_student".
        epsilon: > 0, added to both maps before they are made distributions.
        smooth: >= 0, of Dice.
        scale: "min_max": the teacher's maps are brought to [0, 1] per image; "given": taken as they come.

    Raises:
        InputError: an argument outside these ranges, or maps that do not match the scores.
    """

    compares_maps = True  # and not classes

    def __init__(
        self,
        *,
        kl_weight: float = 1.0,
        dice_weight: float = 1.0,
        kl_direction: str = "student_teacher",
        epsilon: float = 1e-8,
        smooth: float = 1e-6,
        scale: str = "min_max",
    ) -> None:
        super().__init__()
        for name, value in (("kl_weight", kl_weight), ("dice_weight", dice_weight), ("smooth", smooth)):
            number(f"loss.{name}", value, 0)
        finite("loss.epsilon", epsilon, lambda added: added > 0, "a finite number above 0")
        one_of("loss.kl_direction", kl_direction, ("student_teacher", "teacher_student"))
        one_of("loss.scale", scale, ("min_max", "given"))
        self.kl_weight, self.dice_weight, self.kl_direction = kl_weight, dice_weight, kl_direction
        self.epsilon, self.smooth, self.scale = epsilon, smooth, scale

    def forward(self, scores: Tensor, maps: Tensor) -> dict[str, Tensor]:
        """Scores and maps (B, S, S), scores in [0, 1], to the weighted terms {"mse", "kl", "dice"}, scalars.

        >>> terms = ZoomDistillation()(torch.tensor([[[0.5, 1.0]]]), torch.tensor([[[0.0, 4.0]]]))  # p = 0, 1
        >>> {name: round(float(term), 4) for name, term in terms.items()}  # Dice: 1 - 2 / 2.5
        {'mse': 0.125, 'kl': 5.5037, 'dice': 0.2}
        """
        if scores.shape != maps.shape:
            sides = f"{tuple(maps.shape[1:])} where the scores have {tuple(scores.shape[1:])}"
            raise InputError(f"loss: the teacher's maps must match the scores, got {sides}")
        maps = maps.to(torch.promote_types(maps.dtype, torch.float32))
        scores = scores.to(maps.dtype)
        maps = min_max(maps) if self.scale == "min_max" else maps
        return {
            "mse": (scores - maps).square().mean(),
            "kl": self.kl_weight * self._kl(scores, maps),
            "dice": self.dice_weight * self._dice(scores, maps),
        }

    def _kl(self, scores: Tensor, maps: Tensor) -> Tensor:
        first, second = (self._distribution(x) for x in (scores, maps))
        if self.kl_direction == "teacher_student":
            first, second = second, first
        return (first * (first / second).log()).sum(1).mean()

    def _distribution(self, x: Tensor) -> Tensor:
        """(B, S, S) to (B, S * S), positive, rows summing to one."""
        raised = x.flatten(1) + self.epsilon
        return raised / raised.sum(1, keepdim=True)

    def _dice(self, scores: Tensor, maps: Tensor) -> Tensor:
        both = (scores * maps).sum((1, 2))
        return (1 - (2 * both + self.smooth) / (scores.sum((1, 2)) + maps.sum((1, 2)) + self.smooth)).mean()
