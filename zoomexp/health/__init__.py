"""Whether a run learns: what is measured, how it is judged, who is told."""
