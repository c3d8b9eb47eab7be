"""The life of a run: composed, built, fitted, tested, recorded."""
