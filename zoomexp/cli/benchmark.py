"""Measure speed as ratios within one run.

    python scripts/benchmark.py model backbone=resnet20 dataset=cifar10 data_dir=DIR    attention modules against none
        attention=none,loupe,cbam batch_sizes=1,32,128 dtypes=fp32,bf16 modes=eager,compiled rounds=5
        shape=3,224,1000         channels, side and classes, instead of the data set's
        loupe.gate=...           an option of one of them
    python scripts/benchmark.py tokens                               token-reduction methods against plain DeiT-S
        methods=tome,evit,zoomvit batch_size=16 rounds=5 depth=12 dtypes=fp32,bf16 modes=eager tome.r=8
    python scripts/benchmark.py zoomvit                              ZoomViT against plain DeiT-S: encoder, whole
        batch_size=16 encoder_batch=64 rounds=5 depth=12 dtypes=fp32,bf16
    python scripts/benchmark.py gpu-tokens                           all of these in CUDA graphs, four minutes on a GPU
        batch=128,512 limit_s=240 forms=eager,graph,compiled dtype=bf16 rounds=5
        parts=zoomvit,zoomer,tokenizer,methods methods=all
    python scripts/benchmark.py step dataset=cifar10 data_dir=DIR    training step: this project against a bare loop
        steps=40 rounds=5        steps in a stretch, stretches of each side
        model=tiny               a linear model of 8 x 8 images: the loop's own cost (steps=300 rounds=15)
        experiment=zoomvit/digit_scenes backbone=vit_digits tokens=uniform    of a detector also what matching takes
    python scripts/benchmark.py graph dataset=cifar10 data_dir=DIR trainer=gpu    training, one graph a step, and eager
        epochs=4 forms=eager,graph,compiled,graph-compiled experiments=cnntention/cifar10,cnntention/cifar10_cbam
        together=false           true: the experiments also train all at once, against the slowest alone
    python scripts/benchmark.py precision dataset=cifar10 data_dir=DIR    a training step by dtype, layout, compilation
        batch_size=128 rounds=7 forms=fp32,bf16,bf16-compiled,bf16-graphs,bf16-nchw shape=3,32,10
    python scripts/benchmark.py data dataset=cifar10 data_dir=DIR    batches: this project against torchvision and PIL
        images=5000 rounds=5     images of a stretch of the latter
    python scripts/benchmark.py files                                JPEG files: against torchvision, and decoding alone
        images=256 side=500      files, and their width in pixels
        workers=0 rounds=5       processes that read: then wall time is measured
    python scripts/benchmark.py relevance backbone=deit_s            relevance maps in forwards of the same model
        batch_size=8 rounds=3    images at a time, rounds
    python scripts/benchmark.py startup                              CPU seconds of short commands and of a sweep's job
        jobs=4 rounds=3          jobs that a sweep has more, rounds

Everything else goes to the config as in train.py. On a CPU one thread runs and CPU time is measured, so that other work
on the machine does not count; on a GPU wall time with synchronisation at both ends. What is compared takes turns, and
each ratio is that of neighbouring stretches. Memory is kept from step to step (zoomexp/upstream/allocator.py) unless
malloc=default. The figures go to OUTPUT_DIR/benchmarks/ as JSON (output_dir=outputs).

    python scripts/benchmark.py --document      publish these files in docs/records/benchmarks, and write docs/speed.md
"""

import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from zoomexp.atomic_file import write_text
from zoomexp.cli.config_files import CHECKOUT, PACKAGE
from zoomexp.cli.script_options import split
from zoomexp.errors import InputError
from zoomexp.upstream.allocator import keep_memory

SHARED = (
    "__init__",
    "bare",
    "empty_loop",
    "footprint",
    "machine",
    "options",
    "outcome",
    "table",
    "waiting",
    "zoomed",
)  # no benchmarks
OPTIONS = {"malloc": "kept", "output_dir": "outputs"}


def main(arguments: list[str]) -> None:
    """Run the benchmark that the first argument names."""
    if not arguments or {"-h", "--help"} & set(arguments):
        print(__doc__)
        return
    if "--document" in arguments:
        document([argument for argument in arguments if argument != "--document"])
        return
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported, as it is by what follows
    for level in (
        "KINETO_LOG_LEVEL=99",
        "TORCH_CPP_LOG_LEVEL=ERROR",
    ):  # the profiler is talkative
        os.environ.setdefault(*level.split("="))
    name, *rest = arguments
    files = {path.stem for path in (PACKAGE / "cli" / "benchmarks").glob("*.py")} - set(SHARED)
    known = sorted(file.replace("_", "-") for file in files)
    if name not in known:
        raise InputError(f"{name}: no such benchmark; allowed: {', '.join(known)}")
    benchmark = import_module(f"zoomexp.cli.benchmarks.{name.replace('-', '_')}")
    options = OPTIONS | benchmark.OPTIONS
    own = {key: value for key, _, value in (argument.partition("=") for argument in rest) if key in options}
    options |= own
    if options["malloc"] not in ("kept", "default"):
        raise InputError(f"malloc={options['malloc']} is unknown; allowed: kept, default")
    kept = options["malloc"] == "kept" and keep_memory()
    rows = benchmark.run(options, [argument for argument in rest if argument.partition("=")[0] not in own])
    if rows:
        from zoomexp.cli.benchmarks.outcome import write

        malloc = "kept" if kept else os.environ.get("GLIBC_TUNABLES", "default")
        print(f"written to {write(rows, arguments, malloc, options['output_dir'])}")


def document(arguments: Sequence[str]) -> None:
    """Publish what was measured below the output directory, and write the page from all that is published."""
    from zoomexp.results.benchmarks import publish
    from zoomexp.results.speed_page import page

    docs = (CHECKOUT or Path.cwd()) / "docs"
    records, options = docs / "records" / "benchmarks", split(arguments, {"output_dir": "outputs"})[0]
    added = publish(Path(options["output_dir"]) / "benchmarks", records)
    write_text(docs / "speed.md", page(records))
    print(f"{len(added)} files published in {records}; written: {docs / 'speed.md'}")
