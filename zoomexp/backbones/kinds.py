"""Which kind of host a timm model is, and so how it is trained: convolutional, Swin or another vision transformer."""

from typing import Literal

Kind = Literal["cnn", "swin", "vit"]
CONVOLUTIONAL = ("fasternet",)  # families that call their first convolution a patch embedding


def kind_of(name: object) -> Kind | None:
    """The kind of a timm model: a transformer is what first embeds patches, by timm's own name of its first layer.

    Hybrids go by their stem: one of convolutions makes them "cnn".

    Args:
        name: A timm model name, with or without a weights tag.

    Returns:
        "cnn", "swin" or "vit"; None where timm has no such model.

    >>> kind_of("tf_efficientnet_lite0"), kind_of("swinv2_tiny_window8_256"), kind_of("vit_small_patch14_dinov2")
    ('cnn', 'swin', 'vit')
    """
    import timm
    from timm.models import model_entrypoint

    if not isinstance(name, str) or not timm.is_model(name):
        return None
    family = model_entrypoint(name.split(".")[0]).__module__.rpartition(".")[2]
    if family.startswith("swin_transformer"):
        return "swin"
    first = getattr(timm.get_pretrained_cfg(name), "first_conv", None) or ""
    first = first if isinstance(first, str) else first[0]
    return "vit" if "embed" in first.split(".")[0] and family not in CONVOLUTIONAL else "cnn"
