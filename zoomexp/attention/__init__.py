"""Attention modules on feature maps: one file per module, `(B, C, H, W) -> (B, C, sH, sW)`; none knows a backbone."""
