"""What the processor is good at: `trainer.precision=auto` and `compile=auto` become what is fast on it.

bf16 pays where there are instructions for it (AVX-512 BF16 or AMX, ARM's bf16). Elsewhere it is emulated: training
ResNet20 and ViT-Ti in bf16 took 11 and 13 times as long as in single precision on an AVX2 processor. Compilation pays
where products are so fast that what lies between them counts, that is on the same processors, if there is a C++
compiler; on a GPU it is left to the user. What is chosen takes the place of "auto" before anything is
hashed or recorded, so a run on another kind of processor is another run wherever the choice changes its numbers.
"""

import shutil
from functools import cache
from pathlib import Path
from typing import TypeVar

from omegaconf import DictConfig

INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "bf16")  # as /proc/cpuinfo names them; the last is ARM's
Choice = TypeVar("Choice", str, bool)
COMPILERS = ("c++", "g++", "clang++")


def settle(cfg: DictConfig) -> DictConfig:
    """The config with a choice in the place of every "auto" that the processor decides; says each once."""
    trainer = cfg.get("trainer") or {}
    precision, compiled = trainer.get("precision") == "auto", cfg.get("compile") == "auto"
    if not precision and not compiled:
        return cfg
    cfg, on_gpu = cfg.copy(), _on_gpu(str(trainer.get("accelerator", "cpu")))
    if precision:
        cfg.trainer.precision = best_precision(on_gpu)
    if compiled:
        cfg.compile = best_compile(on_gpu)
    return cfg


@cache
def best_precision(on_gpu: bool) -> str:
    """bf16-mixed where there are instructions for it, else 32-true."""
    found = bf16_instructions()
    why = "a GPU" if on_gpu else f"the processor has {found}" if found else "the processor has no bf16 instructions"
    return _said("trainer.precision", "bf16-mixed" if on_gpu or found else "32-true", why)


@cache
def best_compile(on_gpu: bool) -> bool:
    """Whether to compile."""
    found, compiler = bf16_instructions(), next(filter(shutil.which, COMPILERS), None)
    if on_gpu:
        return _said("compile", False, "a GPU")
    why = f"the processor has {found}" if found else "the processor has no bf16 instructions"
    if found and compiler is None:
        why = f"no C++ compiler ({', '.join(COMPILERS)})"
    return _said("compile", bool(found and compiler), why)


def bf16_instructions(cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    """The name of the processor's best bf16 instructions; None where there are none, or nobody knows."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:  # not Linux
        return None
    flags = {flag for line in lines if line.lower().startswith(("flags", "features")) for flag in line.split()}
    return next((name for name in INSTRUCTIONS if name in flags), None)


def _on_gpu(accelerator: str) -> bool:
    if accelerator != "auto":
        return accelerator in ("gpu", "cuda")
    import torch

    return torch.cuda.is_available()


def _said(field: str, choice: Choice, why: str) -> Choice:
    print(f"{field}=auto: {str(choice).lower()} ({why})", flush=True)  # noqa: T201
    return choice
