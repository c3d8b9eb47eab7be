"""Backbones: those of timm, and the few that timm lacks."""
