"""Class-specific relevance maps of a vision transformer: what the Zoomer is taught.

Every method is a function of one signature,

    method(model, images (B, 3, H, W), targets (B,) int64) -> (B, S, S), not normalised

and works on any timm `VisionTransformer`: `lrp.lrp`, `gradient.grad_attn`, `rollout.rollout`, `rollout.attention`.
`normalisation.min_max` brings a map to [0, 1]; `store` keeps maps on disk.
"""
