"""Measure speed as ratios within one run.

    python scripts/benchmark.py step dataset=cifar10 data_dir=DIR    training step: this project against a bare loop
        steps=40 rounds=5        steps in a stretch, stretches of each side
    python scripts/benchmark.py relevance backbone=deit_s            relevance maps in forwards of the same model
        batch_size=8 rounds=3    images at a time, rounds
    python scripts/benchmark.py zoomvit                              ZoomViT against plain DeiT-S: encoder, whole
        batch_size=16 encoder_batch=64 rounds=5 depth=12 dtypes=fp32,bf16

Everything else goes to the config as in train.py. On a CPU one thread runs and CPU time is measured, so that other work
on the machine does not count; on a GPU wall time with synchronisation at both ends. What is compared takes turns, and
each ratio is that of neighbouring stretches.
"""

import os
import sys
from importlib import import_module
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from hydra import initialize_config_dir  # noqa: E402

from zoomexp.command_line import reported  # noqa: E402
from zoomexp.errors import InputError  # noqa: E402


def main(arguments: list[str]) -> None:
    """Run the benchmark that the first argument names."""
    if not arguments or {"-h", "--help"} & set(arguments):
        print(__doc__)
        return
    name, *rest = arguments
    known = sorted(path.stem for path in (ROOT / "scripts/benchmarks").glob("*.py"))
    known = [stem for stem in known if stem not in ("__init__", "options")]
    if name not in known:
        raise InputError(f"{name}: no such benchmark; allowed: {', '.join(known)}")
    benchmark = import_module(f"benchmarks.{name}")
    own = {key: value for key, _, value in (argument.partition("=") for argument in rest) if key in benchmark.OPTIONS}
    overrides = [argument for argument in rest if argument.partition("=")[0] not in own]
    benchmark.run(benchmark.OPTIONS | own, overrides)


if __name__ == "__main__":
    with reported(), initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        main(sys.argv[1:])
