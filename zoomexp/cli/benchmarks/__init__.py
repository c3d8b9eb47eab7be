"""The sub-commands of scripts/benchmark.py, one file each: OPTIONS, and run(options, overrides)."""
