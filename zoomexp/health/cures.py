"""What is likely to help, given how the run is set; an option that is set already is not proposed."""

from dataclasses import dataclass

from zoomexp.health.findings import Finding

ADAPTIVE = ("Adam", "AdamW", "Lion", "NAdam", "RAdam", "LAMB")  # scale their steps themselves


@dataclass(frozen=True)
class Setting:
    """How a run is trained.

    Args:
        optimizer: the optimizer's class.
        lr: its highest rate, before any schedule.
        weight_decay: its largest.
        clip: the norm or value that gradients are clipped at, or None.
        sparsity: the weight of the masks' penalty, or None where the loss has none.
    """

    optimizer: str
    lr: float
    weight_decay: float = 0.0
    clip: float | None = None
    sparsity: float | None = None


def cure(finding: Finding, setting: Setting) -> str:
    """What to try, in the words of options.

    >>> cure(Finding("shut", 0.02, 0, "layer2", "Loupe"), Setting("SGD", 0.1))
    'a lower optimizer.lr (now 0.1), optimizer=adamw or trainer.gradient_clip_val=1'
    """
    options = {
        "shut": _smaller_mask_penalty(setting) + _gentler(setting),
        "bypassed": _smaller_mask_penalty(setting) + _gentler(setting),
        "open": [f"a larger loss.sparsity (now {setting.sparsity:g})" if setting.sparsity else "loss=sparse_gate"],
        "zero_gate": _opening(setting),
        "identity": _opening(setting),
    }
    at_chance = [*_gentler(setting), "a higher rate if the loss has not moved since the first step"]
    return _listed(options.get(finding.kind, at_chance))


def _gentler(setting: Setting) -> list[str]:
    """Smaller steps."""
    proposals = [f"a lower optimizer.lr (now {setting.lr:g})"]
    proposals += [] if setting.optimizer in ADAPTIVE else ["optimizer=adamw"]
    return proposals + ([] if setting.clip else ["trainer.gradient_clip_val=1"])


def _smaller_mask_penalty(setting: Setting) -> list[str]:
    return [f"a smaller loss.sparsity (now {setting.sparsity:g})"] if setting.sparsity else []


def _opening(setting: Setting) -> list[str]:
    """What lets weights behind a closed gate live: they get no gradient, and decay alone moves them."""
    kept = ["optimizer.no_decay=[gate,module]"] if setting.weight_decay else []
    return [*kept, f"a higher optimizer.lr (now {setting.lr:g})", "a gate that starts open (attention.gamma=1)"]


def _listed(options: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(options[:-1]), options[-1]]))
