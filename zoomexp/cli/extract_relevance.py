"""Make a teacher's relevance maps of a data set, over several processes, resuming where an earlier call was stopped.

    python scripts/extract_relevance.py run=outputs/runs/.../seed0-1234abcd        maps of a finished run, on its data
    python scripts/extract_relevance.py run=FOLDER dataset=image_folder data_dir=DIR relevance=grad_attn processes=4
    python scripts/extract_relevance.py backbone=deit_b dataset=imagenet attention=none out=maps/deit_b shard=0/8

    run=FOLDER             the teacher: the network of a finished run; or backbone=, checkpoint=, ... as in train.py
    relevance=lrp          the method: lrp | grad_attn | rollout | attention; relevance.batch_size=32 images at a time
    parts=train,val,test   which images
    processes=1            processes on this machine that share the work
    shard=k/n              this call does the k-th of n shares (k from 0), for several machines on one file system
    out=FOLDER             where the maps go; the run's folder has its own, maps/

Everything else goes to the config as in train.py. `python train.py experiment=zoomvit/digits_zoomer` makes the maps it
needs by itself; this script is for sets that take hours.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig

from zoomexp.arguments import integer
from zoomexp.atomic_file import writing
from zoomexp.cli.script_options import split, whole_numbers
from zoomexp.errors import InputError
from zoomexp.results.stored import finished_facts
from zoomexp.run.build import make, network
from zoomexp.run.compose import compose_run
from zoomexp.run.explain import building
from zoomexp.run.stored_run import restored, stored_config

OPTIONS = {"run": "", "parts": "train,val,test", "processes": "1", "shard": "0/1", "out": ""}


def main(arguments: list[str]) -> None:
    """Do what the command line says."""
    if not arguments or {"-h", "--help"} & set(arguments):
        print(__doc__)
        return
    options, overrides = parse(arguments)
    processes, shard = int(options["processes"]), tuple(int(number) for number in options["shard"].split("/"))
    with building():
        cfg = config(options["run"], overrides)
        if not cfg.relevance:
            raise InputError("relevance=none must be one of attention, grad_attn, lrp, rollout")
        integer("relevance.batch_size", cfg.relevance.batch_size)
        data = make(cfg.dataset)
        data.prepare_data()
        data.setup()
        teacher = make_teacher(cfg, options["run"], data)
        folder = Path(options["out"] or Path(options["run"]) / "maps")
        with writing("out", folder):
            work = list(files(teacher, cfg, data, folder, options["parts"].split(",")))
    if processes == 1:
        for path, method, part, writer in work:
            extract_one(
                path, teacher, method, data, part, writer, cfg.relevance.batch_size, cast(tuple[int, int], shard)
            )
    else:
        share_out(arguments, processes, [(path, writer) for path, _, _, writer in work])
    for path, _, _, writer in work:
        left = len(writer.missing())
        print(f"{'finished' if left == 0 else f'{left} maps are missing'}: {path}")


def parse(arguments: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """This script's own options, and the overrides of the config."""
    options, overrides = split(arguments, OPTIONS, passed_on=("",))
    whole_numbers(options, "processes")
    first, _, count = options["shard"].partition("/")
    if not (first.isdigit() and count.isdigit() and int(first) < int(count)):
        raise InputError(f"shard={options['shard']} must be k/n with 0 <= k < n, for example 0/8")
    if unknown := set(options["parts"].split(",")) - {"train", "val", "test"}:
        raise InputError(f"parts: {', '.join(sorted(unknown))} is unknown; allowed: train, val, test")
    if not options["run"] and not options["out"]:
        raise InputError("run: must be given, the folder of the teacher's run; or out= and the teacher's backbone=")
    return options, overrides


def config(run: str, overrides: Sequence[str]) -> DictConfig:
    """The config of data, teacher and method; of a run, its own data unless others are chosen."""
    if not any(override.startswith("relevance=") for override in overrides):
        overrides = ["relevance=lrp", *overrides]
    if not run:
        return compose_run(overrides).cfg
    finished_facts(run, "run")
    cfg = compose_run([*overrides, f"+needs.teacher={run}"]).cfg
    if not any(override.startswith("dataset") for override in overrides):
        own = stored_config(run, "run").dataset
        own.data_dir = cfg.data_dir
        cfg.dataset = own
    return cfg


def make_teacher(cfg: DictConfig, run: str, data: Any) -> Any:
    """The network that explains."""
    from zoomexp.run.prepare import shape_of
    from zoomexp.weights.checkpoint import load_weights

    if run:
        return restored(run)
    net = network(cfg, shape_of(data))
    load_weights(net, cfg.checkpoint)
    return net.eval().requires_grad_(False)


def files(teacher: Any, cfg: DictConfig, data: Any, folder: Path, parts: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Path, method, part and writer of every file of maps that a run with this config reads."""
    from zoomexp.relevance.extraction import map_file, writer_for

    method, controls = make(cfg.relevance.method), make(cfg.relevance.get("controls", {}))
    for part in parts:
        if data.part(part) is not None:
            for one in [method, *(controls.values() if part == "test" else [])]:
                path = map_file(folder, one, data, part)
                yield path, one, part, writer_for(path, teacher, one, data, part)


def extract_one(
    path: Path, teacher: Any, method: Any, data: Any, part: str, writer: Any, batch_size: int, shard: tuple[int, int]
) -> None:
    """Make this process's share of one file's missing maps."""
    from zoomexp.relevance.extraction import extract, told

    steps = extract(teacher, method, data, part, writer, batch_size=batch_size, shard=shard)
    for line in told(steps, path.stem):
        print(line, flush=True)


def share_out(arguments: Sequence[str], processes: int, work: Sequence[tuple[Path, Any]]) -> None:
    """Start the shares, each in a process of its own, and say how far they are together.

    Raises:
        InputError: If one of them failed; its own message stands above.
    """
    threads = str(max(1, (os.cpu_count() or 1) // processes))
    environment = {"OMP_NUM_THREADS": threads, **os.environ}
    own = [argument for argument in arguments if not argument.startswith(("processes=", "shard="))]
    command = [sys.executable, "-m", "zoomexp", "extract_relevance", *own]
    children = [
        subprocess.Popen([*command, f"shard={k}/{processes}"], env=environment, stdout=subprocess.DEVNULL)
        for k in range(processes)
    ]
    started, before, said = time.perf_counter(), sum(len(writer.missing()) for _, writer in work), 0.0
    while any(child.poll() is None for child in children):
        time.sleep(0.2)
        elapsed, left = time.perf_counter() - started, sum(len(writer.missing()) for _, writer in work)
        if elapsed - said >= 5 and left < before:
            said, seconds = elapsed, elapsed / (before - left) * left
            print(f"maps: {before - left} of {before}, {seconds // 60:.0f}:{seconds % 60:02.0f} left", flush=True)
    if failed := sum(child.returncode != 0 for child in children):
        raise InputError(f"processes: {failed} of {processes} failed; give the command again to go on")
