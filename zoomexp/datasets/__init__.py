"""Data sets: one file per set; small sets are arrays in memory, cut into batches by index (`loader.py`)."""
