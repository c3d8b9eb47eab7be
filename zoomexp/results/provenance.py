"""Where numbers come from: the code's commit, the packages' versions, the machine."""

import contextlib
import importlib.metadata
import os
import platform
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any

import zoomexp

PACKAGES = ("torch", "torchvision", "timm", "pytorch-lightning", "torchmetrics", "hydra-core")


def versions() -> dict[str, str | None]:
    """The version of each package that decides numbers; null of one that was never installed by a package manager."""
    return {name: version(name) for name in PACKAGES} | {
        "zoomexp": zoomexp.__version__,
        "python": platform.python_version(),
    }


def version(package: str) -> str | None:
    """The version of a package as its metadata say; None without metadata."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def host() -> dict[str, Any]:
    """The machine."""
    return {"machine": platform.machine(), "processor": processor(), "cores": os.cpu_count()}


@lru_cache
def git_state() -> dict[str, Any]:
    """The commit the code is at, and whether files differ from it; nulls where there is no repository."""
    here = Path(__file__)

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=here.parent, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)  # not a commit of the folder it is installed in
        return {"sha": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError):
        return {"sha": None, "dirty": None}


@lru_cache
def processor() -> str:
    """The processor's name."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"
