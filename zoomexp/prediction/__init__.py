"""Classifying new images with a finished run: `zoomexp.load` for notebooks, `scripts/predict.py` for folders."""
