"""Does it learn whatever the seed, the processor and its threads? Runs what is missing, then writes the table.

    python scripts/study.py default          the default run: ten seeds, one and two threads, every instruction set of
                                             this processor, and five draws of another processor's rounding
    python scripts/study.py combinations     three hosts with four modules, three seeds each

    seeds=10                how many seeds: 0 to 9 (combinations: 3)
    jobs=2                  runs at a time; those of two threads run alone
    output_dir=outputs/studies
    run=true                false: the table of the runs that are there, published ones (docs/records) among them
    out=FILE                the table in Markdown; outputs/studies/default.md unless given
    trainer.max_epochs=...  or any other override goes to every run

Runs that are finished are not repeated: call it again, here or, with its outputs carried over, on another machine.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from zoomexp.atomic_file import write_text, writing
from zoomexp.cli.config_files import RECORDS
from zoomexp.cli.script_options import check_choice, split, whole_numbers
from zoomexp.cli.table_runs import console, restored
from zoomexp.errors import InputError
from zoomexp.results.study import read_groups, table

HOSTS = {
    "resnet20": ("backbone=resnet20",),
    "resnet18": ("backbone=timm", "backbone.name=resnet18", "dataset.image_size=32"),
    "vit_digits": ("backbone=vit_digits",),
}
MODULES = {
    "resnet20": ("loupe", "cbam", "attzoom", "self_attention"),
    "resnet18": ("loupe", "cbam", "attzoom", "self_attention"),
    "vit_digits": ("loupe", "cbam", "self_attention", "multi_head"),
}
INSTRUCTION_SETS = {"SSE41": "default", "AVX2": "avx2", "AVX512_CORE": "avx512"}  # oneDNN's name: PyTorch's
DRAWS = 5
STUDIES = {"default": "10", "combinations": "3"}  # and their seeds
TITLES = {
    "default": """# Does the default learn, wherever it runs?

`python train.py` alone: Loupe in ResNet20 on cluttered digits, four epochs, recipe scratch_cnn. Of ten classes chance
hits 10 %, and the image's centre 25 % of the boxes. Another rounding: initial weights changed by a millionth.
"At most": held to a lower instruction set than the processor's own. Plain SGD at 0.1 shuts the mask of most
seeds before their second epoch; of which, rounding decides (`tests/train/test_dead_runs.py`).
""",
    "combinations": """# Do hosts learn with every module?

The recipe that a host names, on the embedded digits, ten epochs; chance is 10 %.
""",
}
FEW = ("dataset=digits", "trainer.max_epochs=10")


@dataclass(frozen=True)
class Job:
    """One run of a study: what is typed, under which environment, and the group of the table it counts for."""

    group: str
    overrides: tuple[str, ...]
    threads: int = 1
    environment: dict[str, str] = field(default_factory=dict)


def main(arguments: Sequence[str]) -> None:
    """Do what the command line says."""
    if not arguments or {"-h", "--help"} & set(arguments):
        console.print(__doc__, markup=False, highlight=False)
        return
    name, *words = arguments
    check_choice({"study": name}, "study", tuple(STUDIES))
    defaults = {"seeds": STUDIES[name], "jobs": "2", "output_dir": "outputs/studies", "run": "true", "out": ""}
    options, overrides = split(words, defaults, passed_on=("",))
    seeds, jobs = whole_numbers(options, "seeds", "jobs")
    check_choice(options, "run", ("true", "false"))
    folder = Path(options["output_dir"]).resolve() / name
    out = Path(options["out"] or folder.with_suffix(".md")).resolve()
    wanted = default(seeds) if name == "default" else combinations(seeds)
    failed = run_jobs(wanted, folder, jobs, overrides) if options["run"] == "true" else 0
    if options["run"] == "false" and folder.parent.name == "studies":
        restored(RECORDS, folder.parents[1])
    groups = read_groups(folder, dict.fromkeys(job.group for job in wanted))
    typed = [
        word for word in arguments if not word.startswith(("output_dir=", "out=", "jobs=", "run="))
    ]  # places do not count
    text = f"{TITLES[name]}\n" + table(groups, f"python scripts/study.py {' '.join(typed)}")
    with writing("out", out):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_text(out, text)
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    if failed:
        raise InputError(f"{failed} of {len(wanted)} runs failed, as said above; call it again to repeat them")


def default(seeds: int) -> list[Job]:
    """The runs of the default command."""
    jobs = [Job("1 thread", (f"seed={seed}",)) for seed in range(seeds)]
    jobs += [Job("another rounding", ("seed=0", f"rounding={draw}")) for draw in range(1, DRAWS + 1)]
    jobs += [Job("2 threads", (f"seed={seed}",), threads=2) for seed in range(seeds)]
    for onednn, torch_name in instruction_sets().items():
        limits = {"ONEDNN_MAX_CPU_ISA": onednn, "ATEN_CPU_CAPABILITY": torch_name}
        jobs += [Job(f"{onednn} at most", (f"seed={seed}",), environment=limits) for seed in range(seeds)]
    return jobs


def instruction_sets() -> dict[str, str]:
    """The limits below what this processor has: its own set is what a run takes by itself."""
    import torch

    names = list(INSTRUCTION_SETS.items())
    have = torch.backends.cpu.get_cpu_capability().lower()
    rank = next((place for place, (_, name) in enumerate(names) if name == have), 0)  # ARM has none of them
    return dict(names[:rank])


def combinations(seeds: int) -> list[Job]:
    """Hosts with modules."""
    return [
        Job(f"{module} in {host}", (*FEW, *HOSTS[host], f"attention={module}", f"seed={seed}"))
        for host in HOSTS
        for module in MODULES[host]
        for seed in range(seeds)
    ]


def run_jobs(jobs: Sequence[Job], folder: Path, at_a_time: int, overrides: Sequence[str]) -> int:
    """Do the runs, those of one thread side by side, those of more alone; how many failed."""
    done = iter(range(1, len(jobs) + 1))

    def run(job: Job) -> bool:
        command = [sys.executable, "-m", "zoomexp", "train", *job.overrides, *overrides, "logger=none"]
        command += [f"output_dir={folder / job.group.replace(' ', '_')}"]
        environment = os.environ | {"OMP_NUM_THREADS": str(job.threads), **job.environment}
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        said = "" if ended.returncode == 0 else f": {ended.stderr.strip().splitlines()[-1:]}"
        console.print(f"{next(done)}/{len(jobs)}  {job.group}  {' '.join(job.overrides)}{said}", highlight=False)
        return ended.returncode == 0

    with ThreadPoolExecutor(at_a_time) as pool:
        well = list(pool.map(run, [job for job in jobs if job.threads == 1]))
    well += [run(job) for job in jobs if job.threads > 1]
    return well.count(False)
