"""Tokens on a host that they do not fit: said before what else of them is missing."""

from hydra.utils import get_object
from omegaconf import DictConfig


def check_fit(cfg: DictConfig) -> None:
    """Refuse tokens whose host is none of theirs.

    Their config may lack a run that they are built on, which is all that composing it tells: with another host that run
    would be of no use. The host is built without weights, so this is for where something is wrong already.

    Raises:
        InputError: the host is no transformer that runs on ragged tokens, or cannot be built.
    """
    from zoomexp.run.build import make
    from zoomexp.tokens.host import check_host
    from zoomexp.tokens.zoomvit import ZoomViT

    named = (cfg.get("tokens") or {}).get("_target_")
    kind = get_object(named) if named else None  # a class, or a function
    if not (isinstance(kind, type) and issubclass(kind, ZoomViT)) or "_target_" not in (cfg.get("backbone") or {}):
        return
    backbone = cfg.backbone.copy()
    for name, without in (("pretrained", False), ("weights", None)):
        if name in backbone:
            backbone[name] = without
    check_host(make(backbone)(num_classes=2, in_chans=3))
